"""Deletes call records, deliveries that were given up, and what people have changed, when they are older than they
shall be kept."""

from __future__ import annotations

import asyncio
import time

import sqlalchemy as sa
import structlog
from teletrunk.errors import Refusal

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Call, Change, Delivery

log = structlog.get_logger()

_LOOK_S = 600.0
_BREATH_S = 0.1
_DAY_S = 86_400.0
_AT_ONCE = 1_000  # one long transaction would hold everybody else up


async def retention(database: Database, days: float) -> None:
    """Runs until cancelled; at once over when records are kept for ever (0)."""
    while days:
        try:
            before = time.time() - days * _DAY_S
            deleted = await delete_older(database, before)
            await delete_given_up(database, before)
        except Refusal:
            deleted = 0  # the database is away, and has been reported
        if deleted:
            log.info("old call records deleted", count=deleted)
        await asyncio.sleep(_LOOK_S if deleted < _AT_ONCE else _BREATH_S)


async def retention_of_changes(database: Database, days: float) -> None:
    """Runs until cancelled; at once over when the list of changes is kept for ever (0)."""
    while days:
        try:
            deleted = await delete_older_changes(database, time.time() - days * _DAY_S)
        except Refusal:
            deleted = 0
        await asyncio.sleep(_LOOK_S if deleted < _AT_ONCE else _BREATH_S)


async def delete_older_changes(database: Database, before: float) -> int:
    """Deletes up to a thousand changes that were made before this Unix time; returns how many."""
    oldest = sa.select(Change.number).where(Change.at < before).order_by(Change.at).limit(_AT_ONCE)
    async with database.transaction() as session:
        numbers = (await session.scalars(oldest)).all()
        await session.execute(sa.delete(Change).where(Change.number.in_(numbers)))
    return len(numbers)


async def delete_older(database: Database, before: float) -> int:
    """Deletes up to a thousand records of calls that began before this Unix time; returns how many."""
    oldest = sa.select(Call.call_id).where(Call.invited_at < before).order_by(Call.invited_at).limit(_AT_ONCE)
    async with database.transaction() as session:
        ids = (await session.scalars(oldest)).all()
        await session.execute(sa.delete(Call).where(Call.call_id.in_(ids)))
    return len(ids)


async def delete_given_up(database: Database, before: float) -> None:
    """There are a hundred of a webhook at most."""
    async with database.transaction() as session:
        await session.execute(sa.delete(Delivery).where(Delivery.given_up, Delivery.last_at < before))
