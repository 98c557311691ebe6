"""The edge on the open internet: scanners find nothing and are banned; a flood of registrations is served."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import Gateway

SECONDS, RATE = 30, 200
# Registrations under way at once. A machine that others use, too, is asked more slowly then, and not the same again and
# again: how many a second are borne is what `make bench` measures, with a machine of its own.
UNDER_WAY = 50
PATIENCE_S = 240
GROWTH_MB = 60.0

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

REGISTER = """<?xml version="1.0"?>
<scenario name="register">
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{login}@[remote_ip]>;tag=[call_number]
To: <sip:{login}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:{login}@[local_ip]:[local_port]>
Max-Forwards: 70
Expires: 300
Content-Length: 0

]]></send>
  <recv response="401" auth="true" />
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{login}@[remote_ip]>;tag=[call_number]
To: <sip:{login}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:{login}@[local_ip]:[local_port]>
Max-Forwards: 70
Expires: 300
[authentication username={login} password={password}]
Content-Length: 0

]]></send>
  <recv response="200" optional="true" next="1"/>
  <recv response="503" />
  <label id="1"/>
</scenario>
"""


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        reason = f"{package} is not installed"
        pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    world = World(tmp_path / "world", TELETRUNK_DIGEST_ALGORITHMS="MD5")  # what sipp and SIPVicious know
    async with world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        gateway = Gateway(world, wire)
        await gateway.furnish()
        yield gateway


async def start(*arguments: str, cwd: Path) -> asyncio.subprocess.Process:
    """Ctrl-C ends it, even when the tests run where that is ignored, as a shell's background jobs do."""
    return await asyncio.create_subprocess_exec(
        *arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process, patience: float) -> str:
    """What it has printed when it is over; it is killed when its time is."""
    try:
        out, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        process.kill()
        out, _ = await process.communicate()
    return out.decode(errors="replace")


async def run(*arguments: str, cwd: Path) -> str:
    return await end(await start(*arguments, cwd=cwd), PATIENCE_S + 10)


async def test_two_hundred_registrations_a_second(gateway: Gateway, tmp_path: Path) -> None:
    """Each is answered; nothing grows."""
    needs("sipp", "sip-tester")
    scenario = tmp_path / "register.xml"
    scenario.write_text(REGISTER.format(login=gateway.trunk.login, password=gateway.password))
    child = gateway.world.stack.children["worker"].process
    assert child is not None
    worker = psutil.Process(child.pid)
    before = worker.memory_info().rss
    out = await run(
        "sipp", f"127.0.0.1:{gateway.world.sip_port}", "-sf", str(scenario), "-r", str(RATE), "-m",
        str(RATE * SECONDS), "-l", str(UNDER_WAY), "-i", "127.0.0.1", "-timeout", str(PATIENCE_S), "-timeout_error",
        "-nostdin", "-trace_err",
        cwd=tmp_path,
    )  # fmt: skip
    ended = {what: int(count) for what, count in re.findall(r"(Successful|Failed) call +\| +\d+ +\| +(\d+)", out)}
    assert ended == {"Successful": RATE * SECONDS, "Failed": 0}, out[-3000:]
    grown = (worker.memory_info().rss - before) / 1e6
    assert grown < GROWTH_MB
    await gateway.back_in_service()


async def test_scanners_find_nothing_and_are_banned(gateway: Gateway, tmp_path: Path) -> None:
    needs("svwar", "sipvicious")
    port = str(gateway.world.sip_port)
    words = tmp_path / "words"
    words.write_text("\n".join(f"guess{n}" for n in range(50)))
    names = tmp_path / "names"
    names.write_text("\n".join(["100", "101", "admin", gateway.trunk.login, "office"]))
    found = await run("svwar", "-D", "-d", str(names), "-m", "REGISTER", "-p", port, "127.0.0.1", cwd=tmp_path)
    assert gateway.trunk.login not in re.findall(r"^\| +(\S+) +\| +noauth", found, re.MULTILINE), found
    # No name is told apart from another: each is only challenged.
    told = dict(re.findall(r"^\| +(\S+) +\| +(\w+) +\|", found, re.MULTILINE))
    assert len(set(told.values()) - {"Authentication"}) <= 1
    # Once it is banned it asks for ever and is refused: Ctrl-C makes it say what it has found.
    svcrack = await start("svcrack", "-u", gateway.trunk.login, "-d", str(words), "-p", port, "127.0.0.1", cwd=tmp_path)
    cracking = asyncio.ensure_future(end(svcrack, 60))
    while not cracking.done() and "127.0.0.1" not in await gateway.world.command("ban", "list"):
        await asyncio.sleep(0.1)
    assert not cracking.done(), "it was not banned"
    svcrack.send_signal(signal.SIGINT)
    cracked = await cracking
    assert "found nothing" in cracked
    assert "guess" not in re.sub(r"^.*(WARNING|ERROR).*$", "", cracked, flags=re.MULTILINE)
    answer = await gateway.register()
    assert answer.exchange.final.code == 403
    assert 0 < answer.retry_after <= 1800
    await gateway.world.command("ban", "lift", "127.0.0.1")
    async with asyncio.timeout(10):
        while (await gateway.register()).exchange.final.code != 200:
            await asyncio.sleep(0.1)


async def test_a_ban_outlives_the_worker_and_a_binding_too(gateway: Gateway, tmp_path: Path) -> None:
    """A PBX that registered is called after the Worker's restart without registering again; who guessed stays out."""
    login, password, stranger = gateway.trunk.login, gateway.password, "127.0.0.72"
    async with sip_wire.udp(("127.0.0.1", gateway.world.sip_port), stranger) as guesser:
        for _ in range(6):
            await guesser.register(login, "wrong")
        assert (await guesser.register(login, password)).final.code == 403
        kept = gateway.world.stack.data / "bindings.jsonl"
        async with asyncio.timeout(10):  # both are written down very soon, but not before the answer
            while not kept.exists() or login not in kept.read_text():
                await asyncio.sleep(0.05)
            while stranger not in await gateway.world.command("ban", "list"):
                await asyncio.sleep(0.05)
        async with gateway.without("worker"):
            pass
        async with asyncio.timeout(15):
            while True:
                try:
                    answer = await asyncio.wait_for(guesser.register(login, "wrong"), 2)
                except TimeoutError:
                    continue
                if "banned" in answer.final.phrase:
                    break
                await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        while '"registrations": 1' not in await gateway.world.command("worker", "list", "--json"):
            await asyncio.sleep(0.2)
    assert (await gateway.invite()).exchange.status == (486, "Busy Here"), "no registration since the restart"
