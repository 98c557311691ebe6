"""What webhooks could not be told: listed, kept for a while, and left alone by Managers of the version before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
from teletrunk.v1 import admin_pb2 as pb
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Delivery, Webhook
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.passwords import PasswordSeal, webhook_label
from teletrunk_manager.retention import retention
from teletrunk_manager.webhooks import Webhooks

SEAL = PasswordSeal(bytes(32))
YEAR_S = 365 * 86_400.0


async def add(database: Database, url: str = "http://192.0.2.1/", seal: PasswordSeal = SEAL, **fields: Any) -> None:
    """One webhook with one delivery that is due."""
    sealed = seal.close("secret", webhook_label("w"))
    async with database.transaction() as session:
        session.add(Webhook(webhook_id="w", url=url, sealed_secret=sealed))
        await session.flush()
        session.add(Delivery(delivery_id="d", webhook_id="w", body='{"event": "ping"}', due_at=1.0, **fields))


@contextlib.asynccontextmanager
async def running(task: Any) -> AsyncIterator[None]:
    begun = asyncio.ensure_future(task)
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        begun.cancel()


async def row(database: Database) -> Delivery | None:
    await asyncio.sleep(0.02)
    async with database.transaction(reading=True) as session:
        found: Delivery | None = await session.scalar(sa.select(Delivery))
    return found


async def test_what_is_given_up_is_due_for_nobody(database: Database) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await add(database, f"http://127.0.0.1:{closed.getsockname()[1]}/", attempts=29)
        async with running(Deliveries(database, SEAL, private=True).keep_telling()):
            while not (kept := await row(database)) or not kept.given_up:
                pass
    assert kept.due_at > time.time() + 10 * YEAR_S


async def test_what_was_sealed_with_another_key_is_listed_and_costs_no_attempt(database: Database) -> None:
    await add(database, seal=PasswordSeal(bytes([7]) * 32), attempts=3)
    deliveries = Deliveries(database, SEAL)
    async with running(deliveries.keep_telling()):
        while not (kept := await row(database)) or kept.due_at == 1.0:
            pass
    listed = (await Webhooks(database, SEAL, deliveries).failures(pb.ListWebhookFailuresRequest())).failures
    assert [failure.failure for failure in listed] == ["DATA/secrets/manager.key does not open this webhook"]
    assert kept.attempts == 3 and not kept.given_up


async def test_what_was_given_up_long_ago_is_deleted(database: Database) -> None:
    await add(database, given_up=True, failure="HTTP 500", last_at=time.time() - 8 * 86_400)
    async with running(retention(database, 9.0)):
        assert await row(database) is not None
    async with running(retention(database, 7.0)):
        while await row(database) is not None:
            pass
