"""Database engines as the Manager and the Session Storage use them: PostgreSQL, or SQLite on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from teletrunk.config import ConfigurationError

READING: Final = "teletrunk_reading"  # an execution option: this transaction writes nothing and waits for nobody
_CONNECT_S = 2
_GIVEN_BACK_S, _LOOK_S = 1.0, 0.01
_FRESH_S = 1.0  # a connection that worked so lately is not tried before it is used again
_DATA_EXCEPTION = "22"  # SQLSTATE's class of values that do not fit
_INTERVENTION = "57P"  # of a server that stops, or starts and takes nobody yet
_QUOTED = re.compile('"[^"]*"')
_TURN_S = 4.0  # where another program holds the file, two before us wait for it in vain
_ANSWER_S = 2  # a database that is stopped or cut off is silent: the caller must hear of it in time


def make_engine(url: str, *, migrating: bool = False) -> AsyncEngine:
    """Raises SQLAlchemyError or ImportError for a URL that is none.

    To change a table SQLite makes it anew; while `migrating`, dropping the old one must not delete what refers to it.
    """
    if url.startswith("postgresql"):
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_timeout=_ANSWER_S,
            connect_args={"timeout": _CONNECT_S, "command_timeout": None if migrating else _ANSWER_S},
        )
        _try_connections(engine)
        _hide_values(engine)
        return engine
    engine = create_async_engine(url, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        _make_sqlite_safe(engine, foreign_keys="OFF" if migrating else "ON")
    return engine


class Turns:
    """Those who write to one database, one after the other where it takes one writer at a time.

    SQLite lets who waits for another try again and again, and whoever has no luck for two seconds fails: ten calls at
    once on a busy machine are enough.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @contextlib.asynccontextmanager
    async def mine(self) -> AsyncIterator[None]:
        """Raises TimeoutError when it does not come in time."""
        if self._turn is None:
            yield
            return
        async with asyncio.timeout(_TURN_S):
            await self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()


async def dispose(engine: AsyncEngine) -> None:
    """When what is in use has come back: whoever was cancelled in the middle gives it back by a task of its own, which
    the end of the loop would cancel, too."""
    pool = engine.pool
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GIVEN_BACK_S):
            while isinstance(pool, QueuePool) and pool.checkedout():  # noqa: ASYNC110  a pool tells nobody
                await asyncio.sleep(_LOOK_S)
    await engine.dispose()


def line_of(error: BaseException) -> str:
    """What went wrong, without the statement, its values and SQLAlchemy's link."""
    if isinstance(error, NoSuchModuleError):
        return "no such kind of database: write postgresql+asyncpg://... or sqlite+aiosqlite:///FILE"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "the database closed the connection"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def is_away(error: BaseException) -> bool:
    """Whether the database went away, or is not there yet: a moment later the same may succeed."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or str(getattr(error.orig, "sqlstate", "")).startswith(_INTERVENTION)
    return isinstance(error, ConnectionError)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database, which need not be there yet; None for a server's. Raises `ConfigurationError`."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise ConfigurationError("TELETRUNK_DATABASE_URL, TELETRUNK_VAULT_URL: one is no URL of a database") from None
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


async def database_time(connection: AsyncConnection) -> float:
    """Unix time by one clock for all that use the database: its own, where it has one."""
    if connection.dialect.name != "postgresql":
        return time.time()
    return float((await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())"))).scalar_one())


def _hide_values(engine: AsyncEngine) -> None:
    """PostgreSQL quotes the row that it refuses, and asyncpg the argument. Errors end in logs, and values must not:
    the kind of error and the names of constraint and column stay.
    """

    @event.listens_for(engine.sync_engine, "handle_error")
    def handle_error(context: Any) -> None:
        quotes = str(getattr(context.original_exception, "sqlstate", "")).startswith(_DATA_EXCEPTION)
        error: Any = context.original_exception
        chain = [context.sqlalchemy_exception]
        while error is not None:
            chain.append(error)
            error = error.__cause__
        for each in chain:
            if each is not None and each.args:
                each.args = (_without_values(str(each.args[0]), quotes), *each.args[1:])
            if hasattr(each, "detail"):  # a list of SQLAlchemy's own, which it keeps for others to add to
                each.detail = [] if isinstance(each.detail, list) else None


def _without_values(text: str, quotes: bool) -> str:
    line = text.partition("\n")[0]
    return _QUOTED.sub("...", line.partition(": ")[0]) if quotes else line


def _try_connections(engine: AsyncEngine) -> None:
    """After a restart of the database the pool is full of dead connections.

    SQLAlchemy's own `pool_pre_ping` asks before each use, which doubles the questions of a busy Manager.
    """

    @event.listens_for(engine.sync_engine, "checkin")
    def checkin(connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", 0.0) < _FRESH_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:  # whatever it is, another connection may be better
            raise DisconnectionError(str(error)) from error


def _make_sqlite_safe(engine: AsyncEngine, foreign_keys: str) -> None:
    """Without these, SQLite begins read-only and loses updates silently when two writers meet."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"busy_timeout={_ANSWER_S * 1000}", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute(f"PRAGMA foreign_keys={foreign_keys}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        reading = connection.get_execution_options().get(READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
