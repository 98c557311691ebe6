"""docs/tutorial.md, typed as it stands, in a clean clone: from nothing to a call in each direction.

It makes an environment of its own (`make walk`), so it is no part of `make test`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Actor, Message
from teletrunk_sandbox.people import FRIEND_HZ

from tests.servers import free_port
from tests.walk.terminal import Terminal

ROOT = Path(__file__).parents[2]
AIM_MINUTES = 3.0  # to the first sound, with a warm package cache
_LIMIT_MINUTES = 10.0  # machines are busy
_MOST_COMMANDS = 10
_MOST_MB = 300
_RTP_PORTS = 160  # of a Worker with twenty calls


def commands() -> list[str]:
    """The lines of the tutorial's blocks."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Walk:
    """A person with two terminals and a SIP phone. Each method does what the tutorial says around one command."""

    def __init__(self, clone: Path, phone: Actor) -> None:
        self._clone = clone
        self._phone = phone
        self._began = time.monotonic()
        self._registered = False
        self.up: Terminal | None = None
        self.minutes_to_sound = 0.0
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("SIP_ADDRESS", "MANAGER_ADDRESS", "STORAGE_ADDRESS")}
        rtp = ports.hold(_RTP_PORTS)
        settings = {**addresses, "DATA": str(clone / "data"), "RTP_PORTS": f"{rtp}-{rtp + _RTP_PORTS - 1}"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TELETRUNK_", "MAKE", "MF"))}
        self._environment = kept | {f"TELETRUNK_{name}": value for name, value in settings.items()}

    async def type(self, command: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  $ {command}", flush=True)
        await self._STEPS[command](self, command)

    async def _start(self, command: str) -> None:
        self.up = Terminal(command, self._clone, self._environment)
        await self.up.until("Next: teletrunk account add", 60 * _LIMIT_MINUTES)

    async def _status(self, command: str) -> None:
        terminal = Terminal(command, self._clone, self._environment)
        code = await terminal.ended()
        assert "\x1b[32mattached" in terminal.raw
        assert "storage" in terminal.text and "worker" in terminal.text
        if self._registered:
            assert " by UDP" in terminal.text and code == 0, terminal.text
        else:
            assert "No accounts." in terminal.text, terminal.text

    async def _sign_in(self, command: str) -> None:
        terminal = Terminal(command, self._clone, self._environment)
        await terminal.until("[Cc]ode.*: $")
        assert self.up is not None
        log = Path((await self.up.until(r"sign-in codes are in\s+(\S+);")).group(1))
        terminal.type(re.findall(r"login code for \+15550100: (\d+)", log.read_text())[-1])
        assert await terminal.ended() == 0, terminal.text
        assert "Signed in: Gateway" in terminal.text

    async def _make_trunk(self, command: str) -> None:
        terminal = Terminal(command, self._clone, self._environment)
        assert await terminal.ended() == 0, terminal.text
        told = dict(re.findall(r"^ *(server|login|password) +(\S+)", terminal.text, flags=re.MULTILINE))
        await self._phone.tell("register", **told)
        assert (await self._phone.wait("registration"))["status"] == 200
        self._registered = True

    async def _show_last(self, command: str) -> None:
        """Before it the friend is dialled, and heard."""
        call = (await self._phone.tell("call", to="friend"))["call"]
        await self._phone.wait("established", call=call)
        await self._hear(call)
        self.minutes_to_sound = (time.monotonic() - self._began) / 60
        await self._phone.tell("hangup", call=call)
        await self._phone.wait("ended", call=call)
        terminal = Terminal(command, self._clone, self._environment)
        assert await terminal.ended() == 0, terminal.text
        assert "SIP to Telegram" in terminal.text and "media connected" in terminal.text

    async def _be_called(self, command: str) -> None:
        await self._phone.tell("behave", on_call="answer")
        terminal = Terminal(command, self._clone, self._environment)
        call = (await self._phone.wait("incoming"))["call"]
        await terminal.until("answered: @friend plays a tone")
        await self._hear(call)
        await self._phone.tell("hangup", call=call)
        assert await terminal.ended() == 0, terminal.text

    async def _explain(self, command: str) -> None:
        terminal = Terminal(command, self._clone, self._environment)
        assert await terminal.ended() == 0, terminal.text
        assert "wrong-password" in terminal.text

    async def _hear(self, call: int) -> None:
        """The friend's tone."""
        heard: Message = {}
        async with asyncio.timeout(30):
            while abs((heard.get("hz") or 0) - FRIEND_HZ) > 5:
                await asyncio.sleep(0.5)
                heard = await self._phone.tell("heard", call=call)

    _STEPS: dict[str, Callable[[Walk, str], Awaitable[None]]] = {  # noqa: RUF012  # by what is typed
        "make run": _start,
        ".venv/bin/teletrunk status": _status,
        ".venv/bin/teletrunk account add +15550100": _sign_in,
        ".venv/bin/teletrunk trunk add +15550100": _make_trunk,
        ".venv/bin/teletrunk call show last": _show_last,
        ".venv/bin/teletrunk sandbox call": _be_called,
        ".venv/bin/teletrunk explain '403 Forbidden'": _explain,
    }


def _megabytes(directory: Path) -> float:
    return float(subprocess.run(["du", "-sm", directory], capture_output=True, check=True).stdout.split()[0])


@pytest.mark.timeout(60 * _LIMIT_MINUTES + 120)
async def test_the_tutorial_as_it_is_typed(tmp_path: Path) -> None:
    clone = tmp_path / "teletrunk"
    async with Actor("sip-phone", log=tmp_path / "phone.log") as phone:
        walk = Walk(clone, phone)
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        try:
            for command in commands():
                await walk.type(command)
        finally:
            if walk.up is not None:
                assert await walk.up.interrupt() in (0, 2, -signal.SIGINT)  # make's own word for Ctrl-C
    assert walk.up is not None and "Stopping..." in walk.up.text
    size = _megabytes(clone / ".venv")
    print(f"clone to heard call: {walk.minutes_to_sound:.1f} minutes (aim {AIM_MINUTES}), {len(commands())} commands")
    print(f"environment: {size:.0f} MB{'' if shutil.which('strip') else ', without strip'}")
    assert len(commands()) <= _MOST_COMMANDS
    assert walk.minutes_to_sound < _LIMIT_MINUTES
    assert size < _MOST_MB or shutil.which("strip") is None
