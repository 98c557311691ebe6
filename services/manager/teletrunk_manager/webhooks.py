"""Tells other programs of calls that ended and of what `news` tells: signed, and again until it is acknowledged or a
day has passed.

What has to be told is written down in the transaction that stores the call's record, so nothing is told that is not
so, and nothing that is so is forgotten. The same event may arrive twice; its id says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
import structlog
from google.protobuf import json_format
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Delivery, Webhook
from teletrunk_manager.mistakes import Mistake, NotNow, Unknown
from teletrunk_manager.passwords import PasswordSeal, SealBroken, webhook_label
from teletrunk_manager.webhook_addresses import NotPublic, recipient

log = structlog.get_logger()

_LOOK_S = 1.0
_ANSWER_S = 5.0
_CLAIM_S = 30.0  # a Manager that dies with deliveries in its hands leaves them to another after this
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3_600.0
_MOST_ATTEMPTS = 30  # a little more than a day
_AT_ONCE = 20
_MOST_WEBHOOKS = 20
_LONGEST_URL = 2_000


@dataclass(frozen=True)
class _Letter:
    delivery_id: str
    webhook_id: str
    url: str
    secret: str
    body: str
    attempts: int


class Webhooks:
    def __init__(self, database: Database, seal: PasswordSeal, *, private: bool = False) -> None:
        """`private`: letters may go to this machine and to private networks, too."""
        self._private = private
        self._database = database
        self._seal = seal

    # For people.

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
        return pb.AddWebhookResponse(webhook=pb.Webhook(webhook_id=webhook_id, url=url), secret=secret)

    async def all(self) -> list[pb.Webhook]:
        async with self._database.transaction() as session:
            counted = await session.execute(
                sa.select(Delivery.webhook_id, sa.func.count()).group_by(Delivery.webhook_id)
            )
            waiting = {row[0]: row[1] for row in counted}
            rows = (await session.scalars(sa.select(Webhook).order_by(Webhook.webhook_id))).all()
        return [pb.Webhook(webhook_id=r.webhook_id, url=r.url, waiting=waiting.get(r.webhook_id, 0)) for r in rows]

    async def remove(self, webhook_id: str) -> None:
        """Raises `Unknown`. What it has not been told yet is dropped."""
        async with self._database.transaction() as session:
            row = await session.get(Webhook, webhook_id)
            if row is None:
                raise Unknown(f"there is no webhook {webhook_id}: teletrunk webhook list shows them")
            await session.delete(row)

    # Events.

    async def note(self, session: AsyncSession, record: call_pb2.CallRecord) -> None:
        """The call has ended: every webhook shall hear of it."""
        short = call_pb2.CallRecord()
        short.CopyFrom(record)
        del short.steps[:]
        call = json_format.MessageToDict(
            short, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        await self.spread(session, {"id": record.call_id, "event": "call.ended", "call": call})

    async def spread(self, session: AsyncSession, event: dict[str, Any]) -> None:
        """Writes an event down for every webhook."""
        body, now = json.dumps(event), time.time()
        for webhook_id in (await session.scalars(sa.select(Webhook.webhook_id))).all():
            session.add(
                Delivery(delivery_id=secrets.token_hex(8), webhook_id=webhook_id, body=body, due_at=now, attempts=0)
            )

    async def keep_telling(self) -> None:
        """Runs until cancelled."""
        async with httpx.AsyncClient(timeout=_ANSWER_S, follow_redirects=False) as client:
            while True:
                try:
                    letters = await self._claimed()
                    await asyncio.gather(*(self._tell(client, letter) for letter in letters))
                except (Refusal, NotNow):
                    letters = []  # the database is away, and has been reported; or a row went while it was held
                if not letters:
                    await asyncio.sleep(_LOOK_S)

    async def _claimed(self) -> list[_Letter]:
        now = time.time()
        query = (
            sa.select(Delivery, Webhook)
            .join(Webhook, Webhook.webhook_id == Delivery.webhook_id)
            .where(Delivery.due_at <= now)
            .order_by(Delivery.due_at)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True, of=Delivery)
        )
        letters = []
        async with self._database.transaction() as session:
            for delivery, webhook in (await session.execute(query)).all():
                delivery.due_at, delivery.attempts = now + _CLAIM_S, delivery.attempts + 1
                try:
                    secret = self._seal.open(webhook.sealed_secret, webhook_label(webhook.webhook_id))
                except SealBroken:
                    log.error("DATA/secrets/manager.key does not open this webhook", webhook_id=webhook.webhook_id)
                    continue
                letters.append(
                    _Letter(
                        delivery.delivery_id,
                        webhook.webhook_id,
                        webhook.url,
                        secret,
                        delivery.body,
                        delivery.attempts,
                    )
                )
        return letters

    async def _tell(self, client: httpx.AsyncClient, letter: _Letter) -> None:
        at = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Teletrunk-Delivery": letter.delivery_id,
            "Teletrunk-Signature": f"t={at},v1={signature(letter.secret, at, letter.body)}",
        }
        try:
            async with asyncio.timeout(_ANSWER_S):  # of the whole: one that drips bytes keeps the others waiting
                to = await recipient(letter.url, private=self._private)
                answer = await client.post(
                    to.url, content=letter.body, headers={**headers, **to.headers}, extensions=to.extensions
                )
            done, why = answer.is_success, f"HTTP {answer.status_code}"
        except NotPublic:
            done, why = False, "a private address: TELETRUNK_WEBHOOKS_TO_PRIVATE=true lets letters go there"
        except Exception as error:  # whatever one address does, the others are told
            done, why = False, type(error).__name__
        async with self._database.transaction() as session:
            row = await session.get(Delivery, letter.delivery_id, with_for_update=True)
            if row is None:  # its webhook was removed meanwhile
                return
            if done or letter.attempts >= _MOST_ATTEMPTS:
                await session.delete(row)
            else:
                row.due_at = time.time() + min(_FIRST_PAUSE_S * 2 ** (letter.attempts - 1), _LONGEST_PAUSE_S)
        if not done:
            gives_up = letter.attempts >= _MOST_ATTEMPTS
            log.warning("webhook not delivered", webhook_id=letter.webhook_id, why=why, attempts=letter.attempts,
                        gives_up=gives_up)  # fmt: skip


def _can_be_sent_to(url: str) -> bool:
    """As the one who sends understands it."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def signature(secret: str, at: str, body: str) -> str:
    """HMAC-SHA256 of the time and the body: whoever knows the secret can tell that both are ours."""
    return hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
