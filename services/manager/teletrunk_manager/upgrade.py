"""Brings the database to this version's schema, apart from any Manager's start."""

from __future__ import annotations

import asyncio

from teletrunk.config import load

from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.db.database import Database


def upgrade() -> str:
    """Raises `ConfigurationError`. Returns a line for the person who asked."""
    settings = load(ManagerSettings)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return asyncio.run(_upgrade(Database(settings.url())))


async def _upgrade(database: Database) -> str:
    try:
        await database.open()
    finally:
        await database.close()
    return "The database has this version's schema."
