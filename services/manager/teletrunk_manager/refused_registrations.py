"""Which registrations of a trunk were refused, from where and why: what a PBX's administrator asks first.

Counted in memory and written every few seconds, so that a PBX that tries for ever, or somebody who guesses, costs the
database nothing. One row for each reason and address; the latest twenty of a trunk are kept, those of one
address until its PBX registers from there, and the latest twenty of logins that nobody has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk import causes
from teletrunk.errors import TABLE, Refusal
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, fleet_pb2, manager_pb2

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import RefusedRegistration, Trunk, UnknownLogin

MOST_OF_A_TRUNK: Final = 20
MOST_UNKNOWN: Final = 20
WRITE_EVERY_S: Final = 2.0
_MOST_WAITING = 1_000
_LONGEST_LOGIN, _LONGEST_DETAIL = 64, 200
_NOT_KEPT = frozenset({"database-error"})  # nobody's fault but ours
_NO_TRUNK = "login-not-found"


@dataclass
class _Noted:
    worker_id: str
    count: int
    first_at: float
    last_at: float
    detail: str = ""
    cause: call_pb2.RefusalCause.ValueType = call_pb2.REFUSAL_CAUSE_UNSPECIFIED


@dataclass(frozen=True)
class _Tried:
    source: str
    count: int
    last_at: float


class RefusedRegistrations:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[tuple[str, str, str], _Noted] = {}  # by login, row and source
        self._unknown: dict[str, _Tried] = {}  # by login
        self._registered: dict[tuple[str, str], float] = {}  # when, by login and source

    def forget(self, login: str, source: str) -> None:
        """It has registered from there: what was refused there before is over. Costs nothing now."""
        self._registered[login, source] = time.time()

    def note(self, login: str, source: str, worker_id: str, refusal: Refusal) -> None:
        """Costs nothing now."""
        self.note_many(
            worker_id,
            manager_pb2.RefusedAtEdge(
                login=login,
                source_address=source,
                error_id=refusal.row.id,
                detail=refusal.detail,
                count=1,
                cause=refusal.cause,
            ),
        )

    def note_many(self, worker_id: str, refused: manager_pb2.RefusedAtEdge) -> None:
        """The same of what a Worker has refused. Beyond a thousand kinds between two writes, new ones are left out."""
        if refused.error_id == _NO_TRUNK:
            self._note_unknown(refused)
            return
        if refused.error_id in _NOT_KEPT or refused.error_id not in TABLE:
            return
        key, now = (refused.login, refused.error_id, refused.source_address), time.time()
        if (known := self._waiting.get(key)) is None:
            if len(self._waiting) >= _MOST_WAITING:
                return
            known = self._waiting[key] = _Noted(worker_id, 0, now, now)
        known.count, known.last_at, known.worker_id = known.count + max(1, refused.count), now, worker_id
        known.detail = refused.detail[:_LONGEST_DETAIL]
        known.cause = causes.known(refused.error_id, refused.cause)

    def _note_unknown(self, refused: manager_pb2.RefusedAtEdge) -> None:
        """Those that came last between two writes: scanners try thousands."""
        login = "".join(c if c.isprintable() else "?" for c in refused.login[:_LONGEST_LOGIN])
        before = self._unknown.pop(login, None)
        count = max(1, refused.count) + (before.count if before else 0)
        self._unknown[login] = _Tried(refused.source_address, count, time.time())
        if len(self._unknown) > MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]

    async def keep_writing(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        noted, self._waiting = self._waiting, {}
        unknown, self._unknown = self._unknown, {}
        registered, self._registered = self._registered, {}
        noted = {key: what for key, what in noted.items() if what.last_at > registered.get((key[0], key[2]), 0.0)}
        try:
            if registered:
                await self._forget(registered)
            if noted:
                await self._write_noted(noted)
            if unknown:
                await self._write_unknown(unknown)
        except Refusal:
            pass  # the database is away, which has been reported: these are lost, and the next ones are not

    async def _forget(self, registered: Mapping[tuple[str, str], float]) -> None:
        """Reads only, but where something was refused: PBXs register all day."""
        refused = (
            sa.select(Trunk.login, RefusedRegistration.source, RefusedRegistration.trunk_id)
            .join(RefusedRegistration, RefusedRegistration.trunk_id == Trunk.trunk_id)
            .where(Trunk.login.in_({login for login, _ in registered}))
            .distinct()
        )
        async with self._database.transaction(reading=True) as session:
            found = sorted((await session.execute(refused)).tuples())
        over = [(trunk_id, source, registered[login, source]) for login, source, trunk_id in found
                if (login, source) in registered]  # fmt: skip
        if not over:
            return
        table = RefusedRegistration
        async with self._database.transaction() as session:
            for trunk_id, source, at in over:
                before = (table.trunk_id == trunk_id, table.source == source, table.last_at <= at)
                await session.execute(sa.delete(table).where(*before))

    # Several Managers write the same rows: all in one order, so that no two wait for each other.

    async def _write_noted(self, noted: Mapping[tuple[str, str, str], _Noted]) -> None:
        async with self._database.transaction() as session:
            logins = {login for login, _, _ in noted}
            found = await session.execute(sa.select(Trunk.login, Trunk.trunk_id).where(Trunk.login.in_(logins)))
            trunks = dict(found.tuples().all())
            for login, row, source in sorted(noted):
                if login in trunks:
                    await _add(session, trunks[login], row, source, noted[login, row, source])
        async with self._database.transaction() as session:
            for trunk_id in sorted(trunks.values()):
                await _keep_latest(
                    session, RefusedRegistration, MOST_OF_A_TRUNK, RefusedRegistration.trunk_id == trunk_id
                )

    async def _write_unknown(self, tried: Mapping[str, _Tried]) -> None:
        table = UnknownLogin
        async with self._database.transaction() as session:
            for login in sorted(tried):
                what = tried[login]
                values = {"source": what.source, "count": what.count, "last_at": what.last_at}
                await session.execute(_upsert(session, table, {"login": login}, values))
        async with self._database.transaction() as session:
            await _keep_latest(session, table, MOST_UNKNOWN)


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
                detail=row.detail,
                cause=causes.known(row.error_id, call_pb2.RefusalCause.ValueType(row.cause)),
            )
        )
    return found


async def unknown_logins(session: AsyncSession) -> list[fleet_pb2.UnknownLogin]:
    """The latest first."""
    query = sa.select(UnknownLogin).order_by(UnknownLogin.last_at.desc()).limit(MOST_UNKNOWN)
    return [
        fleet_pb2.UnknownLogin(login=row.login, source_address=row.source, count=row.count, last_at=row.last_at)
        for row in await session.scalars(query)
    ]


async def _add(session: AsyncSession, trunk_id: str, error_id: str, source: str, what: _Noted) -> None:
    keys = {"trunk_id": trunk_id, "error_id": error_id, "source": source}
    values = {"count": what.count, "last_at": what.last_at, "worker_id": what.worker_id, "detail": what.detail,
              "cause": what.cause}  # fmt: skip
    await session.execute(_upsert(session, RefusedRegistration, keys, values, first_at=what.first_at))


def _upsert(
    session: AsyncSession,
    table: type[RefusedRegistration | UnknownLogin],
    keys: dict[str, Any],
    values: dict[str, Any],
    **at_first: Any,
) -> sa.Executable:
    """By one statement: another Manager may add the row meanwhile. Nobody's change, that the audit would keep."""
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    fresh = insert(table).values(**keys, **values, **at_first)
    counted = values | {"count": table.count + values["count"]}
    return fresh.on_conflict_do_update(index_elements=list(keys), set_=counted)


async def _keep_latest(
    session: AsyncSession, table: type[RefusedRegistration | UnknownLogin], most: int, *of: sa.ColumnElement[bool]
) -> None:
    """Deletes the older ones, each by its key."""
    keys = table.__mapper__.primary_key
    older = sa.select(*keys).where(*of).order_by(table.last_at.desc()).offset(most)
    for row in sorted(tuple(row) for row in await session.execute(older)):
        await session.execute(sa.delete(table).where(*(key == value for key, value in zip(keys, row, strict=True))))
