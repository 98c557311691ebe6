"""The Manager of a test, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.manager_world import World


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    settings = {}
    if request.param == "postgresql":
        settings["TELETRUNK_DATABASE_URL"] = await request.getfixturevalue("postgres").database()
    world = World(tmp_path / "data", **settings)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
