"""Idempotency keys: a request that is sent again with its key changes nothing and gets the first answer again."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from teletrunk_manager.db.audit import asker
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Repeatable
from teletrunk_manager.domain.pace import Pace
from teletrunk_manager.mistakes import Mistake, NotNow, TooOften
from teletrunk_manager.passwords import PasswordSeal, SealBroken, answer_label

Answer = tuple[int, str]  # HTTP status and body
_KEPT_S = 86_400.0
_KEYS_AT_ONCE, _KEYS_A_SECOND = 1_000, 0.1  # of one administrator: each is kept for a day
_MAKING_S = 120.0  # an answer that is not there after this never will be: its Manager died, before or after the change


class Repeating:
    """Answers may hold passwords: they are sealed."""

    def __init__(self, database: Database, seal: PasswordSeal) -> None:
        self._database = database
        self._seal = seal
        self._pace = Pace(_KEYS_AT_ONCE, _KEYS_A_SECOND)

    async def once(self, key: str, request: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Raises `Mistake` when the key was used for another request, `NotNow` while the first still runs, and
        `TooOften`."""
        if asker() and not self._pace.allows(asker()):
            raise TooOften("requests with an Idempotency-Key", self._pace.seconds(asker()))
        digest = self._seal.mark(request, answer_label(key))  # a body may have a code or digits that can be guessed
        if (known := await self._begin(key, digest)) is not None:
            return known
        try:
            status, body = await make()
        except BaseException:
            await self._forget(key)
            raise
        if status >= 400:
            await self._forget(key)  # nothing was done: it may be tried again
        else:
            await self._keep(key, status, body)
        return status, body

    async def _begin(self, key: str, digest: str) -> Answer | None:
        now = time.time()
        async with self._database.transaction() as session:
            await session.execute(sa.delete(Repeatable).where(Repeatable.at < now - _KEPT_S))
            row = await session.get(Repeatable, key)
            if row is None:
                session.add(Repeatable(key=key, digest=digest, at=now, status=0, sealed_body=b""))
                try:
                    await session.flush()
                except IntegrityError:
                    raise NotNow("the first request with this Idempotency-Key still runs: ask again later") from None
                return None
        if not hmac.compare_digest(row.digest, digest):
            raise Mistake("this Idempotency-Key was used for another request: make a new one for each")
        if not row.status and row.at < now - _MAKING_S:
            raise NotNow("nobody knows whether the first request was carried out: look, then use a new Idempotency-Key")
        if not row.status:
            raise NotNow("the first request with this Idempotency-Key still runs: ask again later")
        try:
            return row.status, self._seal.open(row.sealed_body, answer_label(key))
        except SealBroken:
            raise NotNow("the first answer cannot be read: look, then use a new Idempotency-Key") from None

    async def _keep(self, key: str, status: int, body: str) -> None:
        async with self._database.transaction() as session:
            row = await session.get_one(Repeatable, key)
            row.status, row.sealed_body = status, self._seal.close(body, answer_label(key))

    async def _forget(self, key: str) -> None:
        async with self._database.transaction() as session:
            await session.execute(sa.delete(Repeatable).where(Repeatable.key == key))
