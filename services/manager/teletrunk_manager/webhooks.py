"""Where events are sent, as people arrange it: added, listed, tried, removed, and what could not be delivered."""

from __future__ import annotations

import json
import secrets
import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import LIST_WEBHOOKS, Shows
from teletrunk.v1 import admin_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Delivery, Webhook
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.mistakes import Mistake, NotNow, Unknown
from teletrunk_manager.passwords import PasswordSeal, SealBroken, webhook_label

_MOST_WEBHOOKS = 20
_LONGEST_URL = 2_000


class Webhooks:
    def __init__(self, database: Database, seal: PasswordSeal, deliveries: Deliveries) -> None:
        self._database = database
        self._seal = seal
        self._deliveries = deliveries

    async def add(self, url: str) -> pb.AddWebhookResponse:
        """Raises `Mistake`. The secret is in this answer and in no other."""
        if len(url) > _LONGEST_URL or not _can_be_sent_to(url):
            raise Mistake(f"{url[:80]} is not an address to send to: write http://... or https://...")
        webhook_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        async with self._database.transaction() as session:
            if (await session.scalar(sa.select(sa.func.count()).select_from(Webhook)) or 0) >= _MOST_WEBHOOKS:
                raise Mistake(f"there are {_MOST_WEBHOOKS} webhooks already: remove one first")
            sealed = self._seal.close(secret, webhook_label(webhook_id))
            session.add(Webhook(webhook_id=webhook_id, url=url, sealed_secret=sealed))
        self._deliveries.look_again()
        return pb.AddWebhookResponse(webhook=pb.Webhook(webhook_id=webhook_id, url=url), secret=secret)

    async def page(self, request: pb.ListWebhooksRequest) -> pb.ListWebhooksResponse:
        query = sa.select(Delivery.webhook_id, Delivery.given_up, sa.func.count())
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, sa.select(Webhook), Webhook.webhook_id, request)
            counted = await session.execute(query.group_by(Delivery.webhook_id, Delivery.given_up))
            counts = {(webhook_id, given_up): count for webhook_id, given_up, count in counted}
        webhooks = [
            pb.Webhook(
                webhook_id=row.webhook_id,
                url=row.url,
                waiting=counts.get((row.webhook_id, False), 0),
                failed=counts.get((row.webhook_id, True), 0),
            )
            for row in rows
        ]
        return pb.ListWebhooksResponse(webhooks=webhooks, next=following)

    async def remove(self, webhook_id: str) -> None:
        """Raises `Unknown`. What it has not been told yet is dropped."""
        async with self._database.transaction() as session:
            await session.delete(await _find(session, webhook_id))

    async def test(self, webhook_id: str) -> pb.TestWebhookResponse:
        """Sends it a ping, now. Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            webhook = await _find(session, webhook_id)
        event, begun = {"id": secrets.token_hex(8), "event": "ping", "at": time.time()}, time.monotonic()
        try:
            outcome = await self._deliveries.send_now(webhook, event)
        except SealBroken:
            raise NotNow("DATA/secrets/manager.key does not open this webhook: put the right file back") from None
        took_ms = round((time.monotonic() - begun) * 1000, 1)
        return pb.TestWebhookResponse(
            delivered=outcome.delivered, status=outcome.status, failure=outcome.failure, took_ms=took_ms
        )

    async def failures(self, request: pb.ListWebhookFailuresRequest) -> pb.ListWebhookFailuresResponse:
        """Raises `Unknown`."""
        query = sa.select(Delivery).where(Delivery.failure != "")
        async with self._database.transaction(reading=True) as session:
            if request.webhook_id:
                query = query.where(Delivery.webhook_id == (await _find(session, request.webhook_id)).webhook_id)
            rows, following = await paged(session, query, Delivery.delivery_id, request, usual=_USUAL_FAILURES)
        return pb.ListWebhookFailuresResponse(failures=map(_failure, rows), next=following)


_USUAL_FAILURES = 50  # each has a body


async def _find(session: AsyncSession, webhook_id: str) -> Webhook:
    row = await session.get(Webhook, webhook_id)
    if row is None:
        raise Unknown(f"there is no webhook {webhook_id}: ", Shows(LIST_WEBHOOKS))
    return row


def _failure(row: Delivery) -> pb.WebhookFailure:
    return pb.WebhookFailure(
        delivery_id=row.delivery_id,
        webhook_id=row.webhook_id,
        event=json.loads(row.body)["event"],
        body=row.body,
        attempts=row.attempts,
        failure=row.failure,
        last_at=row.last_at,
        next_at=0.0 if row.given_up else row.due_at,
    )


def _can_be_sent_to(url: str) -> bool:
    """As the one who sends understands it."""
    import httpx  # not before there is a webhook: see `deliveries`

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)
