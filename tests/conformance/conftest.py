"""The gateway of each module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk_sandbox.world import World

from tests import sip_wire

from .gateway import Gateway, Report


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    async with World(directory) as world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        furnished = Gateway(world, wire)
        await furnished.furnish()
        yield furnished


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def works(gateway: Gateway) -> None:
    """Each test begins with a gateway that works, whatever the test before has left."""
    await gateway.back_in_service()


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    return Report(record_property)
