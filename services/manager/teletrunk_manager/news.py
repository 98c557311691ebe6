"""What happens to services, sessions, registrations, calls that go on and strangers, told to the webhooks.

Told is what changes while a service is attached: what it says first is how things are, not news. A call's record is
written down with the call; this is noted in memory first, so that no heartbeat waits for a database that is away.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.api.shown import shown
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.domain.pace import Pace

log = structlog.get_logger()

_MOST = 1_000  # a crowd that registers and leaves by the thousand is not told one by one
_MOST_A_SECOND = 2.0  # of one service, in the long run: what a stolen certificate says fills no database
_AGAIN_S = 1.0
_DROPS_TOLD_EVERY_S = 60.0
_AT_ONCE = "at once"
Facts = dict[str, Any]
_ACTIVE = pb.SESSION_STATE_ACTIVE


class News:
    def __init__(self, database: Database, deliveries: Deliveries) -> None:
        self._database = database
        self._deliveries = deliveries
        self._pace = Pace(_MOST, _MOST_A_SECOND)
        self._pace_of_calls = Pace(_MOST / 2, _MOST_A_SECOND)  # a busy Worker's calls leave room for all else
        self._drops_told = Pace(1, 1 / _DROPS_TOLD_EVERY_S)
        self._waiting: asyncio.Queue[tuple[str, Facts]] = asyncio.Queue(_MOST)

    def tell(self, event: str, facts: Facts) -> None:
        """Returns at once; what is too much is dropped, and the log says so."""
        try:
            self._waiting.put_nowait((event, {"at": time.time(), **facts}))
        except asyncio.QueueFull:
            if self._drops_told.allows(_AT_ONCE):
                log.warning("webhooks' events are dropped: too many at once", event_name=event)

    def compare(self, service_id: str, before: pb.Heartbeat, now: pb.Heartbeat) -> None:
        """Tells what a service's heartbeat has that its last one had not."""
        for event, facts in changes(service_id, before, now):
            pace = self._pace_of_calls if event.startswith("call.") else self._pace
            if pace.allows(service_id):
                self.tell(event, facts)
            elif self._drops_told.allows(service_id):
                log.warning("webhooks' events are dropped: too many", event_name=event, service_id=service_id)

    async def keep_writing(self) -> None:
        """Runs until cancelled."""
        while True:
            event, facts = await self._waiting.get()
            try:
                if await self._deliveries.has_webhooks():
                    await self._write(event, facts)
            except Refusal:  # the database is away, and has been reported
                self.tell(event, facts)
                await asyncio.sleep(_AGAIN_S)

    async def _write(self, event: str, facts: Facts) -> None:
        async with self._database.transaction() as session:
            if (named := await _named(session, facts)) is None:
                return
            await self._deliveries.spread(session, {"id": secrets.token_hex(8), "event": event, **named})


def changes(service_id: str, before: pb.Heartbeat, now: pb.Heartbeat) -> Iterator[tuple[str, Facts]]:
    """Registrations that came and went, calls that began and were answered, sessions that were lost and are back. Pure.

    A call that begins and ends between two heartbeats is told when its record comes.
    """
    had, has = set(before.registered_trunk_ids), set(now.registered_trunk_ids)
    for event, trunk_ids in (("registration.up", has - had), ("registration.down", had - has)):
        for trunk_id in sorted(trunk_ids):
            yield event, {"trunk_id": trunk_id, "worker_id": service_id}
    answered = {call.call_id: bool(call.answered_at) for call in before.calls}
    for call in now.calls:
        told = {"call": {**shown(call), "worker_id": service_id}}
        if call.call_id not in answered:
            yield "call.started", told
        if call.answered_at and not answered.get(call.call_id):
            yield "call.answered", told
    were = {report.session_id: report.state for report in before.sessions}
    for report in now.sessions:
        active, was = report.state == _ACTIVE, were.get(report.session_id)
        if was is not None and active != (was == _ACTIVE):
            facts = {"session_id": report.session_id, "storage_id": service_id, "reason": report.reason}
            yield "session.back" if active else "session.lost", facts


async def _named(session: AsyncSession, facts: Facts) -> Facts | None:
    """With the names by which people know what the ids mean; None when they mean nothing."""
    if trunk_id := facts.get("trunk_id"):
        query: Any = sa.select(Trunk.login, Trunk.account_id).where(Trunk.trunk_id == trunk_id)
    elif session_id := facts.get("session_id"):
        query = sa.select(Account.account_id, Account.phone, Account.username).where(Account.session_id == session_id)
    elif call := facts.get("call"):
        account_id = call.get("account_id", "")
        known = sa.select(Account.account_id).where(Account.account_id == account_id)
        return facts if await session.scalar(known) is not None else None
    else:
        return facts
    found = (await session.execute(query)).first()
    return None if found is None else {**facts, **found._asdict()}
