"""The database: opened and migrated at start, one transaction a use."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm.exc import StaleDataError
from teletrunk.config import ConfigurationError
from teletrunk.database import READING, Turns, dispose, line_of, make_engine
from teletrunk.errors import Refusal
from teletrunk.schema import Schema

from teletrunk_manager.db.audit import PACE, AuditedSession, pace_of_changes
from teletrunk_manager.mistakes import NotNow

log = structlog.get_logger()

# The lock: several Managers may start at once.
SCHEMA = Schema("the database", Path(__file__).parent.parent / "migrations", lock=0x7E1E)


class Database:
    """Raises `ConfigurationError` for a URL that is none."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = make_engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigurationError(f"TELETRUNK_DATABASE_URL: {line_of(error)}") from None
        self._url = url
        info = {PACE: pace_of_changes()}
        self._sessions = async_sessionmaker(
            self._engine, expire_on_commit=False, sync_session_class=AuditedSession, info=info
        )
        # With PostgreSQL each statement sees what is committed anyway: BEGIN and COMMIT would only be two more
        # questions. With SQLite one transaction at a time may write; those that only read need not queue.
        is_postgres = self._engine.dialect.name == "postgresql"
        self._reader = self._engine.execution_options(
            **{"isolation_level": "AUTOCOMMIT"} if is_postgres else {READING: True}
        )
        self._turns = Turns(self._engine)
        self._reading = async_sessionmaker(self._reader, expire_on_commit=False)
        self.failing = False  # as of the last use

    async def open(self, *, upgrade: bool = True) -> None:
        """Brings the schema up to this version, or only checks it.

        Raises `ConfigurationError` when it is newer than we are, older without `upgrade`, or cannot be reached.
        """
        engine = make_engine(self._url, migrating=True)
        try:
            if engine.dialect.name == "sqlite":
                # A file that cannot be opened shall be found out before a thread of aiosqlite's trips over it.
                sqlite3.connect(engine.url.database or "").close()
            async with engine.begin() as connection:
                await connection.run_sync(SCHEMA.upgrade if upgrade else SCHEMA.check)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise ConfigurationError(f"the database {where} cannot be used: {line_of(error)}") from None
        finally:
            await engine.dispose()

    async def close(self) -> None:
        await dispose(self._engine)

    @contextlib.asynccontextmanager
    async def transaction(self, *, reading: bool = False) -> AsyncIterator[AsyncSession]:
        """Committed at the end of the block. A database that fails is `Refusal("database-error")`.

        A block that only reads shall say so.
        """
        with self._noting_failures():
            if reading:
                async with self._reading() as session:
                    yield session
            else:
                async with self._turns.mine(), self._sessions.begin() as session:
                    yield session

    async def ask(self, question: sa.Executable, **values: object) -> sa.Row[Any] | None:
        """The one row that answers, if any. For what is asked at every call: no session, no objects.

        Raises `Refusal("database-error")`.
        """
        with self._noting_failures():
            async with self._reader.connect() as connection:
                row: sa.Row[Any] | None = (await connection.execute(question, values)).one_or_none()
                return row

    @contextlib.contextmanager
    def _noting_failures(self) -> Iterator[None]:
        try:
            yield
        except StaleDataError:
            raise NotNow("somebody else has just changed it: look at it again, then repeat the command") from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.failing = not is_about_a_value(error)
            log.error("database failed", error=line_of(error))
            raise Refusal("database-error") from error
        self.failing = False


def is_about_a_value(error: BaseException | None) -> bool:
    """Whether it is somebody's value that cannot be stored, as a NUL in PostgreSQL's texts (SQLSTATE class 22), or one
    that no index has room for (class 54).

    Then the database is well: whoever brings such a value must not make the Manager look broken.
    """
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(state, str) and state.startswith(("22", "54"))


async def delete_others(session: AsyncSession, rows: sa.Select[Any], name: str, wanted: set[str]) -> set[str]:
    """Deletes those rows whose `name` is not wanted; returns what is wanted and has no row yet.

    One by one, not by one statement: only then the change is written down.
    """
    missing = set(wanted)
    for row in await session.scalars(rows):
        if getattr(row, name) in wanted:
            missing.discard(getattr(row, name))
        else:
            await session.delete(row)
    return missing
