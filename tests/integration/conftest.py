"""The Manager of a test, on both databases; where an installation is, or shall be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from teletrunk_manager.db.database import Database

from tests.integration.installation import PASSPHRASE, Place
from tests.integration.manager_world import World
from tests.integration.rest_world import Api, rest_api


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


@pytest.fixture(params=["sqlite", "postgresql"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    settings = {}
    if request.param == "postgresql":
        settings["TELETRUNK_DATABASE_URL"] = await request.getfixturevalue("postgres").database()
    async with rest_api(tmp_path / "data", **settings) as api:
        yield api


@pytest_asyncio.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Any]:
    async def make(name: str, kind: str) -> Place:
        if kind == "sqlite":
            return Place(tmp_path / name)
        postgres = request.getfixturevalue("postgres")
        urls = {setting: await postgres.database() for setting in ("TELETRUNK_DATABASE_URL", "TELETRUNK_VAULT_URL")}
        return Place(tmp_path / name, urls)

    return make


@pytest.fixture
def passphrase(tmp_path: Path) -> list[str]:
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text(f"{PASSPHRASE}\n")
    return ["--passphrase-file", str(file)]
