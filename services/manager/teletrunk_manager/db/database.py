"""The database: opened and migrated at start, one transaction a use."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from teletrunk.config import ConfigurationError
from teletrunk.errors import Refusal


class Database:
    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url)
        if self._engine.dialect.name == "sqlite":
            _make_sqlite_safe(self._engine)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def open(self) -> None:
        """Migrates to this version's schema. Raises `ConfigurationError` when it is newer, or cannot be reached."""
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(_migrate)
        except (DBAPIError, OSError) as error:
            raise ConfigurationError(f"TELETRUNK_DATABASE_URL: the database cannot be used: {error}") from None

    async def close(self) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Committed at the end of the block. A database that fails is row 3 of the error contract."""
        try:
            async with self._sessions.begin() as session:
                yield session
        except (SQLAlchemyError, OSError) as error:
            raise Refusal("database-error") from error


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise ConfigurationError(f"the database is of a newer Teletrunk (schema {current}): install that version")
    command.upgrade(config, "head")


def _make_sqlite_safe(engine: AsyncEngine) -> None:
    """Without these, SQLite begins read-only and loses updates silently when two writers meet."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "busy_timeout=5000", "foreign_keys=ON", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
