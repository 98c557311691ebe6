"""One world for the calls of a module: three services, a local Telegram, a subscriber and a registered phone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

GATEWAY, FRIEND = "+79990000001", "+79990000002"


class Scene:
    """A world with one account, one trunk, one phone and one friend at Telegram."""

    def __init__(
        self, world: World, account: admin_pb2.Account, trunk: admin_pb2.AddTrunkResponse, phone: Actor
    ) -> None:
        self.world = world
        self.account = account
        self.trunk = trunk
        self.edge = ("127.0.0.1", world.sip_port)
        self.phone = phone
        self.friends = world.subscribers
        self._seen: set[str] = set()

    async def record(self):  # type: ignore[no-untyped-def]
        """The record of the call that has just ended."""
        record = await self.world.record(besides=self._seen)
        self._seen.add(record.call_id)
        return record

    async def only_trunk(self, trunk: admin_pb2.AddTrunkResponse) -> None:
        """Removes the account's other trunks: Telegram's calls then ring at this one."""
        login = trunk.trunk.login
        for other in (await self.world.admin.ListTrunks(admin_pb2.ListTrunksRequest(), timeout=5)).trunks:
            if other.login != login:
                await self.world.admin.RemoveTrunk(admin_pb2.RemoveTrunkRequest(trunk=other.login), timeout=5)

    async def kill(self, service: str) -> None:
        """kill -9; whoever started the stack starts the service again."""
        process = self.world.stack.children[service].process
        assert process is not None
        process.kill()
        await process.wait()

    async def register_again(self) -> None:
        """Until the edge is back, the phone's requests meet a closed port."""
        async with asyncio.timeout(40):
            while True:
                await self.phone.tell("register_again")
                if (await self.phone.wait("registration"))["status"] == 200:
                    return
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def a_scene(directory: Path, **settings: str) -> AsyncIterator[Scene]:
    async with World(directory, **settings) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        yield Scene(world, account, trunk, await world.phone(trunk))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory) -> AsyncIterator[Scene]:  # type: ignore[no-untyped-def]
    async with a_scene(tmp_path_factory.mktemp("world")) as made:
        yield made
