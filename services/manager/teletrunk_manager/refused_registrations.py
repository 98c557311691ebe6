"""Which registrations of a trunk were refused, from where and why: what a PBX's administrator asks first.

Counted in memory and written every few seconds, so that a PBX that tries for ever, or somebody who guesses, costs the
database nothing. One row for each reason and address; the latest twenty of a trunk are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.v1 import admin_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import RefusedRegistration, Trunk

MOST_OF_A_TRUNK: Final = 20
WRITE_EVERY_S: Final = 2.0
_MOST_WAITING = 1_000
# Rows that name no trunk, or nobody's fault but ours.
_NOT_KEPT = frozenset({"unauthorized", "login-not-found", "database-error"})


@dataclass
class _Noted:
    worker_id: str
    count: int
    first_at: float
    last_at: float


class RefusedRegistrations:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[tuple[str, str, str], _Noted] = {}  # by login, row and source

    def note(self, login: str, source: str, worker_id: str, refusal: Refusal) -> None:
        """Costs nothing now. Beyond a thousand kinds between two writes, new ones are left out."""
        key, now = (login, refusal.row.id, source), time.time()
        if refusal.row.id in _NOT_KEPT:
            return
        if known := self._waiting.get(key):
            known.count, known.last_at, known.worker_id = known.count + 1, now, worker_id
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting[key] = _Noted(worker_id, 1, now, now)

    async def keep_writing(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        noted, self._waiting = self._waiting, {}
        if not noted:
            return
        try:
            async with self._database.transaction() as session:
                logins = {login for login, _, _ in noted}
                found = await session.execute(sa.select(Trunk.login, Trunk.trunk_id).where(Trunk.login.in_(logins)))
                trunks = dict(found.tuples().all())
                for (login, row, source), what in noted.items():
                    if login in trunks:
                        await _add(session, trunks[login], row, source, what)
                await _forget_old(session, trunks.values())
        except Refusal:
            pass  # the database is away, which has been reported: these are lost, and the next ones are not


async def of_trunks(session: AsyncSession, trunk_ids: Iterable[str]) -> dict[str, list[pb.RefusedRegistration]]:
    """By trunk, the latest first."""
    query = sa.select(RefusedRegistration).where(RefusedRegistration.trunk_id.in_(list(trunk_ids)))
    found: dict[str, list[pb.RefusedRegistration]] = {}
    for row in await session.scalars(query.order_by(RefusedRegistration.last_at.desc())):
        found.setdefault(row.trunk_id, []).append(
            pb.RefusedRegistration(
                error_id=row.error_id,
                source_address=row.source,
                worker_id=row.worker_id,
                count=row.count,
                first_at=row.first_at,
                last_at=row.last_at,
            )
        )
    return found


async def _add(session: AsyncSession, trunk_id: str, error_id: str, source: str, what: _Noted) -> None:
    """By statements, which are not changes of anybody's that the audit would keep."""
    table = RefusedRegistration
    is_it = sa.and_(table.trunk_id == trunk_id, table.error_id == error_id, table.source == source)
    values = {"count": table.count + what.count, "last_at": what.last_at, "worker_id": what.worker_id}
    known = await session.scalar(sa.select(table.count).where(is_it))
    if known is not None:
        await session.execute(sa.update(table).where(is_it).values(values))
        return
    await session.execute(
        sa.insert(table).values(
            trunk_id=trunk_id,
            error_id=error_id,
            source=source,
            worker_id=what.worker_id,
            count=what.count,
            first_at=what.first_at,
            last_at=what.last_at,
        )
    )


async def _forget_old(session: AsyncSession, trunk_ids: Iterable[str]) -> None:
    table = RefusedRegistration
    for trunk_id in trunk_ids:
        times: Sequence[float] = (
            await session.scalars(
                sa.select(table.last_at)
                .where(table.trunk_id == trunk_id)
                .order_by(table.last_at.desc())
                .offset(MOST_OF_A_TRUNK)
                .limit(1)
            )
        ).all()
        if times:
            await session.execute(sa.delete(table).where(table.trunk_id == trunk_id, table.last_at <= times[0]))
