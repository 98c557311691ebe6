"""`teletrunk up --sandbox` as a person uses it: started, an account and a trunk added, a friend called, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from teletrunk_sandbox import ports

from tests import sip_wire
from tests.servers import free_port

pytestmark = pytest.mark.e2e

PATIENCE_S = 40
_RTP_PORTS = 160  # of a Worker with twenty calls


class Shell:
    def __init__(self, data: Path) -> None:
        self.sip_port = free_port()
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("MANAGER_ADDRESS", "STORAGE_ADDRESS")}
        rtp = ports.hold(_RTP_PORTS)
        settings = {"DATA": str(data), "SIP_ADDRESS": f"127.0.0.1:{self.sip_port}", **addresses,
                    "RTP_PORTS": f"{rtp}-{rtp + _RTP_PORTS - 1}"}  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
        self.environment = kept | {f"TELETRUNK_{name}": value for name, value in settings.items()}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk.cli.main", *arguments, env=self.environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def run(self, *arguments: str) -> str:
        process = await self.start(*arguments)
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 0, out.decode()
        return out.decode()


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while line := (await process.stdout.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"it ended without saying {text}")


async def code_in(log: Path, phone: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while not (found := re.findall(rf"login code for \{phone}: (\d+)", log.read_text())):
            await asyncio.sleep(0.05)
    return str(found[-1])


async def the_friend_calls(shell: Shell, pbx: sip_wire.SipWire) -> None:
    """`teletrunk sandbox call`: the phone rings, and the command says what came of it."""
    calling = await shell.start("sandbox", "call")
    ringing = await pbx.next_request("INVITE", patience=PATIENCE_S)
    pbx.answer(ringing, 486, "Busy Here")
    out, _ = await asyncio.wait_for(calling.communicate(), PATIENCE_S)
    assert out.decode().splitlines()[0].startswith("@friend calls +15550100"), out
    assert (calling.returncode, out.decode().splitlines()[-1]) == (1, "ended without an answer")


async def it_says_who_dies_and_comes_back(up: asyncio.subprocess.Process, data: Path) -> None:
    """By the signal of a crash; each line once."""
    os.kill(_worker_of(data), signal.SIGKILL)
    assert "worker: ended by SIGKILL, is started again" in await line_with(up, "worker: ")
    assert "worker: is back" in await line_with(up, "worker: ")


def _worker_of(data: Path) -> int:
    """Its process, by the environment that it was given."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, given = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if words.endswith(b"-m\0teletrunk_worker\0") and f"TELETRUNK_DATA={data}\0".encode() in given:
            return int(process.name)
    raise AssertionError("no worker runs")


def _left_of(data: Path) -> list[str]:
    """What runs with this directory, by the environment that it was given."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, given = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if words and f"TELETRUNK_DATA={data}\0".encode() in given:
            left.append(words.replace(b"\0", b" ").decode())
    return left


async def test_what_is_killed_leaves_nobody_who_is_taken_for_the_next_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shell = Shell(data)
    up = await shell.start("up", "--sandbox")
    await line_with(up, "  worker: ready")
    up.kill()
    await up.wait()
    async with asyncio.timeout(PATIENCE_S):
        while _left_of(data):
            await asyncio.sleep(0.1)
    again = await shell.start("up", "--sandbox")
    try:
        await line_with(again, "Next: teletrunk account add +15550100")
    finally:
        again.send_signal(signal.SIGINT)
        await asyncio.wait_for(again.communicate(), PATIENCE_S)


async def test_a_setting_that_nothing_reads_is_named_before_the_start(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")
    shell.environment |= {"TELETRUNK_MAX_CALS": "3", "TELETRUNK_MAX_CALLS": "many"}
    up = await shell.start("up")
    out, _ = await asyncio.wait_for(up.communicate(), PATIENCE_S)
    first = out.decode().splitlines()[0]
    assert first == "Not used: TELETRUNK_MAX_CALS (environment) is no setting: did you mean TELETRUNK_MAX_CALLS?"
    assert up.returncode


async def test_a_person_tries_it_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shell = Shell(data)
    up = await shell.start("up", "--sandbox")
    try:
        for name in ("manager", "session-store", "worker"):
            assert "started" in await line_with(up, f"  {name}:")
        await line_with(up, "Next: teletrunk account add +15550100")
        log = data / "logs" / "sandbox.log"
        await code_in(log, "+15550199")  # the friend signs in as well: then everybody is there
        adding = await shell.start("account", "add", "+15550100")
        assert "has sent a code" in await line_with(adding, "code")
        typed = f"00000\n{await code_in(log, '+15550100')}\n"  # the first with a finger beside the key
        out, _ = await asyncio.wait_for(adding.communicate(typed.encode()), PATIENCE_S)
        assert "the code is wrong" in out.decode()
        assert adding.returncode == 0 and "Signed in: Gateway" in out.decode()
        trunk = await shell.run("trunk", "add", "+15550100")
        login, password = (re.search(rf"{name} +(\S+)", trunk).group(1) for name in ("login", "password"))  # type: ignore[union-attr]
        async with sip_wire.udp(("127.0.0.1", shell.sip_port)) as pbx:
            async with asyncio.timeout(PATIENCE_S):
                while (await pbx.register(login, password)).final.code != 200:
                    await asyncio.sleep(0.2)
            await the_friend_calls(shell, pbx)
            answered = await pbx.invite("@friend", login, password, patience=PATIENCE_S)
            assert answered.status == (200, "OK")
        await it_says_who_dies_and_comes_back(up, data)
        second = await shell.start("up", "--sandbox")
        out, _ = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        assert second.returncode == 2 and b"is used by another stack that still runs" in out
    finally:
        up.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(up.wait(), PATIENCE_S) == 0
    assert "Stopping" in await line_with(up, "Stopping")
    assert "stopped" in await line_with(up, "  sandbox: stopped")


async def test_a_terminal_that_is_closed_leaves_no_service_behind(tmp_path: Path) -> None:
    up = await Shell(tmp_path).start("up", "--sandbox")
    await line_with(up, "Next: ")
    assert _worker_of(tmp_path)
    up.send_signal(signal.SIGHUP)
    assert await asyncio.wait_for(up.wait(), PATIENCE_S) == 0
    with pytest.raises(AssertionError, match="no worker runs"):
        _worker_of(tmp_path)
