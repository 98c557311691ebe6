"""The database: opened and migrated at start, one transaction a use."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from teletrunk.config import ConfigurationError
from teletrunk.errors import Refusal

log = structlog.get_logger()


class Database:
    """Raises `ConfigurationError` for a URL that is none."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = create_async_engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigurationError(f"TELETRUNK_DATABASE_URL: {_line(error)}") from None
        if self._engine.dialect.name == "sqlite":
            _make_sqlite_safe(self._engine)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def open(self) -> None:
        """Migrates to this version's schema. Raises `ConfigurationError` when it is newer, or cannot be reached."""
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(_migrate)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise ConfigurationError(f"the database {where} cannot be used: {_line(error)}") from None

    async def close(self) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Committed at the end of the block. A database that fails is `Refusal("database-error")`."""
        try:
            async with self._sessions.begin() as session:
                yield session
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            log.error("database failed", error=_line(error))
            raise Refusal("database-error") from error


def _line(error: Exception) -> str:
    """What went wrong, without the statement, its values and SQLAlchemy's link."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations").replace("%", "%%"))
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
