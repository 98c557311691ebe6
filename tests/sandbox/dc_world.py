"""A data centre as a real process, and people with unmodified kurigram clients."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyrogram import Client, raw
from pyrogram.handlers import RawUpdateHandler
from teletrunk_sandbox.client import connect_factory, trust
from teletrunk_sandbox.control import SandboxControl

DEADLINE = 10.0
_PHONES = itertools.count(79990000001)


@dataclass
class Dc:
    """A running data centre."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    @classmethod
    def start(cls, state: Path, **ports: int) -> Dc:
        options = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
        command = [sys.executable, "-m", "teletrunk_sandbox", "dc", "--state", str(state), *options]
        sandbox = str(Path(__file__).parents[2] / "sandbox")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": sandbox})
        assert process.stdout is not None
        dc = cls(process, json.loads(process.stdout.readline()))
        trust(dc.ready["rsa_key_file"])
        return dc

    def control(self) -> SandboxControl:
        return SandboxControl(self.ready["control_port"])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0


@dataclass
class Person:
    """One device of an account: a kurigram client and the updates that it has got."""

    phone: str
    client: Client
    user_id: int = 0
    updates: list[Any] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, query: Any) -> Any:
        return await self.client.invoke(query, sleep_threshold=0)

    async def ask_once(self, query: Any) -> Any:
        """Past `invoke`, which repeats what was answered with a 500 and hides the error."""
        return await self.client.session.send(query)

    async def update(self, kind: type[Any], inside: type[Any] | None = None) -> Any:
        """Take the first update of a kind; for calls, with a kind of phoneCall inside."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for update in self.updates:
                    if isinstance(update, kind) and (not inside or isinstance(update.phone_call, inside)):
                        self.updates.remove(update)
                        return update
                self._news.clear()
                await self._news.wait()

    async def call(self, kind: type[Any]) -> Any:
        return (await self.update(raw.types.UpdatePhoneCall, kind)).phone_call

    async def input_of(self, other: Person) -> raw.types.InputUser:
        """How this account addresses another."""
        found = await self.ask(raw.functions.contacts.ResolvePhone(phone=other.phone))
        return raw.types.InputUser(user_id=found.users[0].id, access_hash=found.users[0].access_hash)

    async def listen(self) -> None:
        self.client.add_handler(RawUpdateHandler(self._take))
        await self.client.initialize()

    async def _take(self, _client: Client, update: Any, _users: Any, _chats: Any) -> None:
        self.updates.append(update)
        self._news.set()


PersonFactory = Callable[..., Awaitable[Person]]


def new_phone() -> str:
    return str(next(_PHONES))


def new_client(dc: Dc, kind: type[Client] = Client, **options: Any) -> Client:
    factory = connect_factory(dc.ready["host"], dc.ready["port"])
    settings: dict[str, Any] = {"in_memory": True, "no_updates": False, "skip_updates": True, **options}
    return kind(f"client{new_phone()}", api_id=1, api_hash="x" * 32, connection_factory=factory, **settings)


async def sign_in(one: Person, control: SandboxControl) -> None:
    sent = await one.client.send_phone_number_code(one.phone)
    user = await one.client.sign_in(one.phone, sent.phone_code_hash, await control.code(one.phone))
    one.user_id = user.id


async def leave(client: Client) -> None:
    if client.is_initialized:
        await client.terminate()
    if client.is_connected:
        await client.disconnect()
