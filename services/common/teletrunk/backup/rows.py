"""Rows of a database on their way out and in, whatever kind of database it is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from teletrunk.backup.part import Row
from teletrunk.database import READING, make_engine

BATCH: Final = 100
_ANSWER_S: Final = 60.0
_BYTES = "base64"


def reading(url: str) -> AsyncEngine:
    """An engine whose transactions see the database as it was at their first question, and hold nobody up."""
    engine = make_engine(url, migrating=True)  # without the short deadline of a service's questions
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(**{READING: True})


async def counts(connection: AsyncConnection, tables: list[sa.Table]) -> dict[str, int]:
    """How many rows each has."""
    found = {}
    for table in tables:
        async with asyncio.timeout(_ANSWER_S):
            found[table.name] = await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
    return found


async def dump(
    connection: AsyncConnection, table: sa.Table, changed: Callable[[sa.Table, Row], Row]
) -> AsyncIterator[list[Row]]:
    """Its rows, some at a time, as JSON holds them."""
    async with asyncio.timeout(_ANSWER_S):
        result = await connection.stream(sa.select(table))
    try:
        while True:
            async with asyncio.timeout(_ANSWER_S):
                rows = await result.fetchmany(BATCH)
            if not rows:
                return
            yield [
                {name: _to_json(value) for name, value in changed(table, dict(row._mapping)).items()} for row in rows
            ]
    finally:
        await result.close()


async def insert(connection: AsyncConnection, table: sa.Table, rows: list[Row]) -> None:
    """What `dump` gave."""
    values = [{name: _from_json(value) for name, value in row.items()} for row in rows]
    async with asyncio.timeout(_ANSWER_S):
        await connection.execute(table.insert(), values)


def tables_of(connection: Connection, names: list[str]) -> dict[str, sa.Table]:
    """As the database itself has them: an older schema is not what our models say."""
    found = sa.MetaData()
    found.reflect(connection, only=names)
    return {name: found.tables[name] for name in names}


def occupied(connection: Connection, names: list[str]) -> str:
    """The name of a table of ours that is there already; empty when there is none."""
    there = set(sa.inspect(connection).get_table_names())
    return next((name for name in names if name in there), "")


async def go_on_counting(connection: AsyncConnection, tables: list[sa.Table]) -> None:
    """PostgreSQL numbers new rows by a sequence, which must go on behind the rows that came with their numbers."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        for column in table.primary_key:
            where = {"table": table.name, "column": column.name}
            named = sa.text("SELECT pg_get_serial_sequence(:table, :column)")
            if sequence := await connection.scalar(named, where):
                highest = await connection.scalar(sa.select(sa.func.max(column)))
                if highest is not None:
                    last = {"name": sequence, "last": highest}
                    await connection.execute(sa.text("SELECT setval(:name, :last)"), last)


def _to_json(value: Any) -> Any:
    return {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes | memoryview) else value


def _from_json(value: Any) -> Any:
    return base64.b64decode(value[_BYTES]) if isinstance(value, dict) else value
