"""The edge alone, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from .edge_world import EdgeWorld, edge_world


@pytest_asyncio.fixture
async def world() -> AsyncIterator[EdgeWorld]:
    async with edge_world() as made:
        yield made
