"""One world for the peers of a module: three services, a local Telegram with a friend, and an account's trunks."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from teletrunk.v1 import admin_pb2, call_pb2
from teletrunk_sandbox.world import World

pytest.register_assert_rewrite("tests.interop.peer")
GATEWAY, FRIEND = "+79990000001", "+79990000002"


class Site:
    """An account whose friend at Telegram is called and calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.friends = world.subscribers
        self._seen: set[str] = set()

    @property
    def sip(self) -> tuple[str, int]:
        """Where the Worker's SIP port is."""
        return "127.0.0.1", self.world.sip_port

    async def trunk(self, **fields: Any) -> admin_pb2.AddTrunkResponse:
        """A new trunk, and no other: Telegram's calls ring there."""
        added = await self.world.add_trunk(GATEWAY, **fields)
        for other in (await self.world.admin.ListTrunks(admin_pb2.ListTrunksRequest(), timeout=5)).trunks:
            if other.login != added.trunk.login:
                await self.world.remove_trunk(other.login)
        return added

    async def record(self) -> call_pb2.CallRecord:
        """Of the call that has just ended."""
        record = await self.world.record(besides=self._seen)
        self._seen.add(record.call_id)
        return record


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory: Path = tmp_path_factory.mktemp("world")
    async with World(directory) as world:
        account = await world.add_account(GATEWAY, "gateway")
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        yield Site(world)


@pytest_asyncio.fixture(scope="class", loop_scope="module")
async def peer(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Whom the class's tests try (peer.Trials)."""
    async with request.cls.registered(site) as found:
        yield found


def needs(program: str, package: str) -> None:
    """Skips where the program is missing; in CI that is a failure."""
    if shutil.which(program) is None:
        missing(f"{package} is not installed")


def missing(reason: str) -> None:
    pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)
