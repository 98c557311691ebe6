"""The edge alone, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from .port_world import PortWorld, port_world


@pytest_asyncio.fixture
async def world() -> AsyncIterator[PortWorld]:
    async with port_world() as made:
        yield made
