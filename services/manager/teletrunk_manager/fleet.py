"""Who belongs to the system, and who does not any more; which Worker may use what."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Literal

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk import causes
from teletrunk.errors import Refusal
from teletrunk.identity import MANAGER, Identity
from teletrunk.remedies import LIST_SERVICES, LIST_WORKERS, Shows

from teletrunk_manager.accounts import find_account, require_owner
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database, delete_others
from teletrunk_manager.db.tables import Assignment, Drain, JoinToken, Member, Service, ServiceName
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake, Unknown

log = structlog.get_logger()

_REFRESH_S = 1.0
_ALONE_S = 10.0
_LONGEST_NAME = 64


class Fleet:
    """On one machine with plain text there are no members, and only assignments and drains mean anything."""

    def __init__(self, database: Database, live: Live, configurations: Configurations) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._members: frozenset[Identity] = frozenset()
        self._failed = asyncio.Event()  # the last look at the database

    def is_current(self, identity: Identity) -> bool:
        return identity == MANAGER or identity in self._members

    async def refresh(self) -> None:
        """Reads who belongs to us; those who do not any more lose their streams."""
        try:
            async with self._database.transaction(reading=True) as session:
                rows = (await session.scalars(sa.select(Member).where(*current()))).all()
        except Refusal:
            self._failed.set()
            raise
        self._failed.clear()
        members = frozenset(Identity(kind_of(row.kind), row.service_id) for row in rows)
        gone, self._members = self._members - members, members
        for identity in gone:
            self._live.drop(identity.id)
        if gone:
            self._configurations.changed()

    async def keep_current(self, *, alone: bool) -> None:
        """Other Managers invite and revoke too; alone, a revocation may have been written down whose refresh failed.

        Runs until cancelled.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ALONE_S if alone else _REFRESH_S):
                    await self._failed.wait()
                await asyncio.sleep(_REFRESH_S)
            try:
                await self.refresh()
            except Refusal:
                continue  # the database is away: who was a member stays one

    # For people.

    async def revoke(self, service_id: str) -> str:
        """Returns the join token that it may come back with, as another service; empty: none."""
        async with self._database.transaction() as session:
            member = await session.get(Member, service_id)
            if member is None or member.revoked:
                raise Unknown(f"there is no member {service_id}: ", Shows(LIST_WORKERS))
            member.revoked = True
            token = await session.get(JoinToken, member.came_by) if member.came_by else None
            ended = token is None or (token.expires_at is not None and token.expires_at < time.time())
            way_back = "" if ended and not member.came_by.startswith("account/") else member.came_by
        log.warning("service revoked", id=service_id)
        await self.refresh()
        return way_back

    async def assign(self, account: str, worker_ids: list[str]) -> None:
        async with self._database.transaction() as session:
            found = await find_account(session, account)
            require_owner(found)
            await session.refresh(found, with_for_update=True)  # two lists at once must not become one
            account_id = found.account_id
            assigned = sa.select(Assignment).where(Assignment.account_id == account_id)
            missing = await delete_others(session, assigned, "worker_id", set(worker_ids))
            if strangers := sorted(missing - await _workers(session, missing)):
                raise Unknown(f"there is no Worker {', '.join(strangers)}: ", Shows(LIST_WORKERS))
            session.add_all(Assignment(account_id=account_id, worker_id=worker) for worker in sorted(missing))
        self._configurations.changed()

    async def drain(self, worker_id: str, on: bool) -> None:
        async with self._database.transaction() as session:
            if await session.scalar(sa.select(Service.kind).where(Service.service_id == worker_id)) != "worker":
                raise Unknown(f"there is no Worker {worker_id}: ", Shows(LIST_WORKERS))
            drain = await session.get(Drain, worker_id)
            if on and drain is None:
                session.add(Drain(worker_id=worker_id))
            elif not on and drain is not None:
                await session.delete(drain)
        self._configurations.changed()

    async def rename(self, service_id: str, name: str) -> None:
        """Empty: as its machine is called. Raises `Unknown`, `Mistake`."""
        name = name.strip()
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise Mistake(f"a name has up to {_LONGEST_NAME} characters, and no control characters")
        async with self._database.transaction() as session:
            if await session.get(Service, service_id) is None:
                raise Unknown(f"there is no service {service_id}: ", Shows(LIST_SERVICES))
            known = await session.get(ServiceName, service_id)
            if not name and known is not None:
                await session.delete(known)
            elif name and known is not None:
                known.name = name
            elif name:
                session.add(ServiceName(service_id=service_id, name=name))

    # For services.

    async def require_assigned(self, account_id: str, worker_id: str) -> None:
        """Raises `Refusal` when the account is for other Workers."""
        async with self._database.transaction(reading=True) as session:
            found = sa.select(Assignment.worker_id).where(Assignment.account_id == account_id)
            workers = set((await session.scalars(found)).all())
        if workers and worker_id not in workers:
            raise causes.ASSIGNED_ELSEWHERE.refusal()


def require_own(identity: Identity | None, claimed: str) -> None:
    """A service speaks for itself only. Raises `Mistake`."""
    if identity is not None and identity.id != claimed:
        raise Mistake(f"the certificate is of {identity.id}, not of {claimed}")


async def _workers(session: AsyncSession, ids: set[str]) -> set[str]:
    """Which of these are Workers that have been here, or may come."""
    here = sa.select(Service.service_id).where(Service.service_id.in_(ids), Service.kind == "worker")
    may_come = sa.select(Member.service_id).where(Member.service_id.in_(ids), Member.kind == "worker", *current())
    return set(await session.scalars(here)) | set(await session.scalars(may_come))


def current() -> tuple[sa.ColumnElement[bool], ...]:
    """Which members are ones."""
    return sa.not_(Member.revoked), Member.retired_at.is_(None)


def kind_of(text: str) -> Literal["worker", "storage"]:
    assert text in ("worker", "storage")  # the database says so too
    return "worker" if text == "worker" else "storage"
