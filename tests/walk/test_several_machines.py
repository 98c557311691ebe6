"""docs/operations/several-machines.md, typed as it stands on five machines with addresses of their own."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from teletrunk_sandbox.actors import Actor, Message
from teletrunk_sandbox.people import FRIEND_HZ

from tests.walk.machines import Machine, machines
from tests.walk.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "several-machines.md"
_CODE = "24680"
_PATIENCE_S = 30
_LAST_LINES = 12  # of each service, for whoever looks at a failure
_TELEGRAM = f"teletrunk sandbox --listen 0.0.0.0:8443 --code {_CODE}"

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("ip") is None, reason="root and ip (iproute2) make the machines' networks"
)


def commands() -> list[str]:
    """The lines of the page's blocks, in order."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Site:
    """The people at the machines. Each method does what the page says around one command."""

    def __init__(self, place: list[Machine], phone: Actor) -> None:
        self._manager, self._storage, self._worker, _, self._telegram = place
        self._phone = phone
        self._began = time.monotonic()
        self._registered: dict[str, Any] = {}
        self.services: dict[str, Terminal] = {}

    async def begin(self) -> None:
        """The Telegram that the Storage will find, in place of the one that everybody uses."""
        self.services["telegram"] = telegram = self._telegram.type(_TELEGRAM)
        key = (await telegram.until(r'"rsa_key_file": "([^"]+)"'))[1]
        server = f"{self._telegram.address}:8443"
        self._real = {"TELETRUNK_TELEGRAM_SERVER": server, "TELETRUNK_TELEGRAM_RSA_KEY_FILE": key}

    async def type(self, command: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  $ {command}", flush=True)
        await self._STEPS[command.split("teletrunk ", 1)[1]](self, command)

    async def _start_manager(self, command: str) -> None:
        self.services["manager"] = manager = self._manager.type(command)
        await manager.until("manager listening")

    async def _invite_storage(self, command: str) -> None:
        printed = self._printed(await self._manager.run(command))
        typed = printed.replace("ITS_ADDRESS", self._storage.address)
        typed = typed.replace("API_ID=...", "API_ID=1").replace("API_HASH=...", f"API_HASH={secrets.token_hex(16)}")
        assert "..." not in typed
        self.services["storage"] = self._storage.type(typed, self._real)
        await self._attached("storage")

    async def _invite_worker(self, command: str) -> None:
        self.services["worker"] = self._worker.type(self._printed(await self._manager.run(command)))
        await self._attached("worker")

    @staticmethod
    def _printed(text: str) -> str:
        """What it says is to be typed on the other machine."""
        heading, line = text.splitlines()
        assert heading.endswith("On its machine, once:")
        return line

    async def _attached(self, kind: str) -> None:
        """As the Manager's people see it."""
        await self._manager.run(f"timeout 30 sh -c 'until teletrunk {kind} list | grep attached; do sleep 0.2; done'")

    async def _status(self, command: str) -> None:
        terminal = self._manager.type(command)
        await terminal.ended()
        assert terminal.text.count("attached") == 2 and "No accounts." in terminal.text, terminal.text
        assert f"{self._worker.address}:5060" in await self._manager.run("teletrunk worker list")
        assert f"{self._storage.address}:5052" in await self._manager.run("teletrunk storage list")

    async def _sign_in(self, command: str) -> None:
        terminal = self._manager.type(command)
        await terminal.until("[Cc]ode.*: $")
        terminal.type(_CODE)
        assert await terminal.ended() == 0, terminal.text
        assert "Signed in: Gateway" in terminal.text

    async def _make_trunk(self, command: str) -> None:
        said = await self._manager.run(command)
        self._registered = dict(re.findall(r"^ *(server|login|password) +(\S+)", said, flags=re.MULTILINE))
        assert self._registered["server"] == f"{self._worker.address}:5060"
        await self._phone.tell("register", **self._registered)
        await self._is_registered()
        await self._call()

    async def _is_registered(self) -> None:
        """It asks again, as a PBX does, where the Worker does not know its accounts yet. By one account all along: of
        another one pjsua takes the first one's registration back, whenever that arrives."""
        async with asyncio.timeout(_PATIENCE_S):
            while (await self._phone.wait("registration"))["status"] != 200:
                await self._phone.tell("register_again")

    async def _call(self) -> None:
        """The friend is dialled, and heard."""
        call = (await self._phone.tell("call", to="friend", play={"hz": 440.0}))["call"]
        await self._phone.wait("established", call=call)
        heard: Message = {}
        async with asyncio.timeout(_PATIENCE_S):
            while heard.get("hz") != pytest.approx(FRIEND_HZ, abs=5):
                await asyncio.sleep(0.5)
                heard = await self._phone.tell("heard", call=call)
        await self._phone.tell("hangup", call=call)
        await self._phone.wait("ended", call=call)

    async def _show_last(self, command: str) -> None:
        said = await self._manager.run(command)
        assert "SIP to Telegram" in said and "media connected" in said

    async def _start_worker_again(self, command: str) -> None:
        await self.services["worker"].interrupt()
        self.services["worker"] = self._worker.type(command)
        await self._attached("worker")
        await self._phone.tell("register_again")
        await self._is_registered()
        await self._call()

    async def end(self) -> None:
        for name in reversed(self.services):
            await self.services[name].interrupt()
            print(f"--- {name}", *self.services[name].text.splitlines()[-_LAST_LINES:], sep="\n")

    _STEPS: dict[str, Callable[[Site, str], Awaitable[None]]] = {  # noqa: RUF012  # by what is typed
        "manager": _start_manager,
        "storage invite": _invite_storage,
        "worker invite": _invite_worker,
        "status": _status,
        "account add +15550100": _sign_in,
        "trunk add +15550100": _make_trunk,
        "call show last": _show_last,
        "worker": _start_worker_again,
    }


@pytest.mark.timeout(240)
async def test_several_machines_as_the_page_has_them_typed() -> None:
    # Not pytest's directory: its names are longer than a home's, and a socket's path may have 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="site-") as short,
        machines(Path(short), "manager", "storage", "worker", "pbx", "telegram") as place,
    ):
        pbx = place[3]
        phone = ("sip-phone", "--address", pbx.address)
        async with Actor(*phone, log=Path(short, "phone.log"), program=pbx.program("teletrunk_sandbox")) as actor:
            site = Site(place, actor)
            try:
                await site.begin()
                for command in commands():
                    await site.type(command)
            finally:
                await site.end()
