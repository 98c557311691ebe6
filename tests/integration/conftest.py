"""The Manager of a test, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from teletrunk_manager.db.database import Database

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


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A new one of each kind, without a process."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'manager.db'}"
    if request.param == "postgresql":
        url = await request.getfixturevalue("postgres").database()
    database = Database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
