"""Database engines as the Manager and the Session Storage use them: PostgreSQL, or SQLite on one machine."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

READING: Final = "teletrunk_reading"  # an execution option: this transaction writes nothing and waits for nobody
_CONNECT_S = 2
_ANSWER_S = 2  # a database that is stopped or cut off is silent: the caller must hear of it in time


def make_engine(url: str, *, migrating: bool = False) -> AsyncEngine:
    """Raises SQLAlchemyError or ImportError for a URL that is none.

    To change a table SQLite makes it anew; while `migrating`, dropping the old one must not delete what refers to it.
    """
    if url.startswith("postgresql"):
        return create_async_engine(
            url,
            pool_pre_ping=True,  # after a restart of the database the pool is full of dead connections
            pool_timeout=_ANSWER_S,
            connect_args={"timeout": _CONNECT_S, "command_timeout": None if migrating else _ANSWER_S},
        )
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        _make_sqlite_safe(engine, foreign_keys="OFF" if migrating else "ON")
    return engine


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
