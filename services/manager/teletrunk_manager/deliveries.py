"""Tells other programs of calls that ended and of what `news` tells: signed, and again until it is acknowledged or a
day has passed. What was given up then is kept for a while, to be looked at.

What has to be told is written down in the transaction that stores the call's record, so nothing is told that is not
so, and nothing that is so is forgotten. The same event may arrive twice; its id says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from sqlalchemy import event as of_database
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2

from teletrunk_manager.api.shown import shown, with_times
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Delivery, Webhook
from teletrunk_manager.letters import Letter, Outcome, post
from teletrunk_manager.mistakes import NotNow
from teletrunk_manager.passwords import PasswordSeal, SealBroken, webhook_label

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger()

_LONGEST_LOOK_S = 30.0  # another Manager may have died before it sent what only it had been woken for
_SHORTEST_LOOK_S = 0.1  # when another Manager is just taking it
_AGAIN_S = 1.0
_KNOWN_S = 1.0
_CLAIM_S = 30.0  # a Manager that dies with deliveries in its hands leaves them to another after this
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3_600.0
_SEALED, _SEALED_PAUSE_S = "DATA/secrets/manager.key does not open this webhook", 600.0
_NEVER_S = 100 * 366 * 86_400.0  # for Managers of before, which do not know what is given up
_MOST_ATTEMPTS = 30  # a little more than a day
_AT_ONCE = 20
_MOST_GIVEN_UP = 100  # of a webhook


class Deliveries:
    def __init__(self, database: Database, seal: PasswordSeal, *, private: bool = False) -> None:
        """`private`: letters may go to this machine and to private networks, too."""
        self._private = private
        self._database = database
        self._seal = seal
        self._put_in = asyncio.Event()
        self._wanted, self._looked_at = False, -math.inf

    async def has_webhooks(self) -> bool:
        """As it was a second ago, unless one was added here meanwhile: events of which nobody hears cost nothing."""
        if time.monotonic() - self._looked_at > _KNOWN_S:
            async with self._database.transaction(reading=True) as session:
                self._wanted = await session.scalar(sa.select(Webhook.webhook_id).limit(1)) is not None
            self._looked_at = time.monotonic()
        return self._wanted

    def look_again(self) -> None:
        """There is one webhook more."""
        self._looked_at = -math.inf

    async def note(self, session: AsyncSession, record: call_pb2.CallRecord) -> None:
        """The call has ended: every webhook shall hear of it."""
        short = call_pb2.CallRecord()
        short.CopyFrom(record)
        del short.steps[:]
        await self.spread(session, {"id": record.call_id, "event": "call.ended", "call": shown(short)})

    async def spread(self, session: AsyncSession, event: dict[str, Any]) -> None:
        """Writes an event down for every webhook; it is sent as soon as that is committed."""
        body, now = json.dumps(with_times(event)), time.time()
        webhooks = (await session.scalars(sa.select(Webhook.webhook_id))).all()
        for webhook_id in webhooks:
            session.add(Delivery(delivery_id=secrets.token_hex(8), webhook_id=webhook_id, body=body, due_at=now))
        if webhooks:
            of_database.listen(session.sync_session, "after_commit", lambda _: self._put_in.set(), once=True)

    async def keep_telling(self) -> None:
        """Runs until cancelled."""
        client: httpx.AsyncClient | None = None
        async with contextlib.AsyncExitStack() as opened:
            while True:
                self._put_in.clear()
                try:
                    letters = await self._claimed()
                    if client is None and (letters or await self.has_webhooks()):
                        client = await opened.enter_async_context(_client())
                    if client is not None:
                        await asyncio.gather(*(self._tell(client, letter) for letter in letters))
                    pause = 0.0 if letters else await self._pause()
                except (Refusal, NotNow):
                    pause = _AGAIN_S  # the database is away, and has been reported; or a row went while it was held
                if pause:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._put_in.wait()

    async def send_now(self, webhook: Webhook, event: dict[str, Any]) -> Outcome:
        """Once, beside all that waits. Raises `SealBroken`."""
        secret = self._seal.open(webhook.sealed_secret, webhook_label(webhook.webhook_id))
        letter = Letter(secrets.token_hex(8), webhook.webhook_id, webhook.url, secret, json.dumps(with_times(event)), 1)
        async with _client() as client:
            return await post(client, letter, private=self._private)

    async def _pause(self) -> float:
        """Until the next one is due."""
        query = sa.select(sa.func.min(Delivery.due_at)).where(~Delivery.given_up)
        async with self._database.transaction(reading=True) as session:
            due_at = await session.scalar(query)
        return _LONGEST_LOOK_S if due_at is None else max(_SHORTEST_LOOK_S, min(due_at - time.time(), _LONGEST_LOOK_S))

    async def _claimed(self) -> list[Letter]:
        now = time.time()
        query = (
            sa.select(Delivery, Webhook)
            .join(Webhook, Webhook.webhook_id == Delivery.webhook_id)
            .where(Delivery.due_at <= now, ~Delivery.given_up)
            .order_by(Delivery.due_at)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True, of=Delivery)
        )
        letters = []
        async with self._database.transaction() as session:
            for delivery, webhook in (await session.execute(query)).all():
                try:
                    secret = self._seal.open(webhook.sealed_secret, webhook_label(webhook.webhook_id))
                except SealBroken:  # no attempt: it is not the receiver's fault
                    log.error(_SEALED, webhook_id=webhook.webhook_id)
                    delivery.failure, delivery.last_at, delivery.due_at = _SEALED, now, now + _SEALED_PAUSE_S
                    continue
                delivery.due_at, delivery.attempts = now + _CLAIM_S, delivery.attempts + 1
                letters.append(
                    Letter(
                        delivery.delivery_id,
                        webhook.webhook_id,
                        webhook.url,
                        secret,
                        delivery.body,
                        delivery.attempts,
                    )
                )
        return letters

    async def _tell(self, client: httpx.AsyncClient, letter: Letter) -> None:
        outcome = await post(client, letter, private=self._private)
        gives_up = letter.attempts >= _MOST_ATTEMPTS
        async with self._database.transaction() as session:
            row = await session.get(Delivery, letter.delivery_id, with_for_update=True)
            if row is None:  # its webhook was removed meanwhile
                return
            if outcome.delivered:
                await session.delete(row)
                return
            row.failure, row.last_at, row.given_up = outcome.failure, time.time(), gives_up
            row.due_at = row.last_at + min(_FIRST_PAUSE_S * 2 ** (letter.attempts - 1), _LONGEST_PAUSE_S)
            if gives_up:
                row.due_at = row.last_at + _NEVER_S
                await session.flush()
                await session.execute(_too_many_given_up(letter.webhook_id))
        log.warning("webhook not delivered", webhook_id=letter.webhook_id, why=outcome.failure,
                    attempts=letter.attempts, gives_up=gives_up)  # fmt: skip


def _client() -> httpx.AsyncClient:
    import httpx  # 5 MB that a Manager without webhooks does without

    return httpx.AsyncClient(follow_redirects=False)


def _too_many_given_up(webhook_id: str) -> sa.Delete:
    of_webhook = sa.and_(Delivery.webhook_id == webhook_id, Delivery.given_up)
    kept = sa.select(Delivery.delivery_id).where(of_webhook).order_by(Delivery.last_at.desc()).limit(_MOST_GIVEN_UP)
    return sa.delete(Delivery).where(of_webhook, Delivery.delivery_id.not_in(kept))
