"""Deletes call records, deliveries that were given up, and what people have changed, when they are older than they
shall be kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import InstrumentedAttribute
from teletrunk.errors import Refusal

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Call, Change, Delivery

log = structlog.get_logger()

Column = InstrumentedAttribute[Any]

_LOOK_S = 600.0
_BREATH_S = 0.1
_DAY_S = 86_400.0
_AT_ONCE = 1_000  # one long transaction would hold everybody else up


async def retention(database: Database, days: float) -> None:
    """Of call records and of what could not be delivered. Runs until cancelled; at once over when kept for ever (0)."""

    async def delete(before: float) -> int:
        deleted = await _delete_oldest(database, Call.call_id, Call.invited_at, before)
        if deleted:
            log.info("old call records deleted", count=deleted)
        async with database.transaction() as session:  # there are a hundred of a webhook at most
            await session.execute(sa.delete(Delivery).where(Delivery.given_up, Delivery.last_at < before))
        return deleted

    await _keep_deleting(days, delete)


async def retention_of_changes(database: Database, days: float) -> None:
    """Of what people have changed. Runs until cancelled; at once over when it is kept for ever (0)."""
    await _keep_deleting(days, lambda before: _delete_oldest(database, Change.number, Change.at, before))


async def _keep_deleting(days: float, delete: Callable[[float], Awaitable[int]]) -> None:
    while days:
        try:
            deleted = await delete(time.time() - days * _DAY_S)
        except Refusal:
            deleted = 0  # the database is away, and has been reported
        await asyncio.sleep(_LOOK_S if deleted < _AT_ONCE else _BREATH_S)


async def _delete_oldest(database: Database, key: Column, at: Column, before: float) -> int:
    """Deletes up to a thousand rows of a time before this; returns how many."""
    async with database.transaction() as session:
        keys = (await session.scalars(sa.select(key).where(at < before).order_by(at).limit(_AT_ONCE))).all()
        await session.execute(sa.delete(key.class_).where(key.in_(keys)))
    return len(keys)
