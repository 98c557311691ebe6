"""One world for the calls of a module: three services, a local Telegram, a subscriber and a registered phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

GATEWAY, FRIEND = "+79990000001", "+79990000002"


class Scene:
    """A world with one account, one trunk, one phone and one friend at Telegram."""

    def __init__(self, world: World, phone: Actor) -> None:
        self.world = world
        self.phone = phone
        self.friends = world.subscribers
        self._seen: set[str] = set()

    async def record(self):  # type: ignore[no-untyped-def]
        """The record of the call that has just ended."""
        record = await self.world.record(besides=frozenset(self._seen))
        self._seen.add(record.call_id)
        return record


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory) -> AsyncIterator[Scene]:  # type: ignore[no-untyped-def]
    directory: Path = tmp_path_factory.mktemp("world")
    async with World(directory) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        yield Scene(world, await world.phone(trunk))
