"""Services that are gone for good: who was not seen for long, whom people remove, and who says so itself.

What nobody else can do is not let go silently: an account stays closed to Workers that it was never for, and a Storage
that alone has the sessions of accounts stays until they are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.remedies import ASSIGN, LIST_SERVICES, REMOVE_ACCOUNT, REMOVE_SERVICE, Shows

from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.audit import acting
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Assignment, Drain, Member, Service, ServiceName
from teletrunk_manager.fleet import Fleet, current
from teletrunk_manager.live import Live
from teletrunk_manager.managers import Managers
from teletrunk_manager.mistakes import Mistake, NotNow, Unknown

log = structlog.get_logger()

_LOOK_S = 60.0
_SHORTEST_LOOK_S = 0.5
# So long must we have been watching before we say that somebody is missing: after an outage all come back first.
_WATCH_S = 300.0
_HOUR_S = 3_600.0


class Retirement:
    def __init__(
        self, database: Database, live: Live, fleet: Fleet, configurations: Configurations, managers: Managers,
        hours: float,
    ) -> None:  # fmt: skip
        self._database = database
        self._live = live
        self._fleet = fleet
        self._configurations = configurations
        self._managers = managers
        self._patience = hours * _HOUR_S
        self._kept: set[str] = set()

    # For people and services.

    async def remove(self, service_id: str) -> None:
        """Forgets a service that is away. Raises `Unknown`, and `NotNow` while it is needed."""
        if self._live.find(service_id) is not None:
            raise NotNow(f"{service_id} is attached: stop it first; to end it at once, revoke it")
        async with self._database.transaction() as session:
            member = await session.get(Member, service_id)
            is_member = member is not None and member.retired_at is None
            if not is_member and await session.get(Service, service_id) is None:
                raise Unknown(f"there is no service {service_id}: ", Shows(LIST_SERVICES))
            await self._require_closed(session, service_id)
            await self._let_go(session, service_id)
        await self._done(service_id, "removed")

    async def leave(self, identity: Identity | None) -> None:
        """The service leaves for good, and says so. Raises `NotNow`."""
        if identity is None:
            raise NotNow("a service without a certificate is no member: stop it, then ", REMOVE_SERVICE)
        with acting("leave"):
            await self._take_leave(identity.id)
        await self._done(identity.id, "left")

    async def _take_leave(self, service_id: str) -> None:
        async with self._database.transaction() as session:
            await self._require_closed(session, service_id)
            await self._let_go(session, service_id)

    async def _require_closed(self, session: AsyncSession, service_id: str) -> None:
        """Locks its accounts. People decide what becomes of those that only this Worker may use. Raises `NotNow`."""
        await _lock_accounts(session, service_id)
        if alone := await _only_assigned(session, service_id):
            raise NotNow(f"{', '.join(alone)}: for this Worker only; say for which others first (", ASSIGN, ")")

    # By ourselves.

    async def keep_looking(self) -> None:
        """Notes who is here, and retires who was not for long. Runs until cancelled."""
        period = min(max(self._patience / 4, _SHORTEST_LOOK_S), _LOOK_S) if self._patience else _LOOK_S
        watching_since = looked_at = time.time()
        while True:
            await asyncio.sleep(period)
            now = time.time()
            if now - looked_at > 3 * period + _SHORTEST_LOOK_S:  # this machine slept, or its clock was set
                watching_since = now
            looked_at = now
            is_sure = now - watching_since > min(_WATCH_S, self._patience)
            with contextlib.suppress(Refusal), acting("retirement"):  # the database may be away
                await self._managers.show()
                await self._note_who_is_here()
                if self._patience and is_sure:
                    await self._retire_absent(now - self._patience)
                await self._forget_ended(now)

    async def _note_who_is_here(self) -> None:
        """A Manager that dies tells nobody whom it has seen last."""
        here = {service.service_id: service.seen_at for service in self._live.here()}
        async with self._database.transaction() as session:
            for service_id, seen_at in here.items():
                found = sa.update(Service).where(Service.service_id == service_id, Service.last_seen < seen_at)
                await session.execute(found.values(last_seen=seen_at))

    async def _retire_absent(self, since: float) -> None:
        seen = sa.select(Service.last_seen).where(Service.service_id == Member.service_id).scalar_subquery()
        absent = sa.select(Member.service_id).where(
            *current(), Member.came_by != "", Member.enrolled_at < since, sa.func.coalesce(seen, 0.0) < since
        )
        async with self._database.transaction(reading=True) as session:
            ids = (await session.scalars(absent)).all()
        for service_id in ids:
            if self._live.find(service_id) is None:
                await self._retire(service_id, absent.where(Member.service_id == service_id))

    async def _retire(self, service_id: str, still: sa.Select[str]) -> None:
        try:
            async with self._database.transaction() as session:
                await session.get(Member, service_id, with_for_update=True)
                if await session.scalar(still) is None:
                    return  # it is back, or another Manager was faster
                await _lock_accounts(session, service_id)
                await self._let_go(session, service_id)
        except Mistake as reason:
            if service_id not in self._kept:
                self._kept.add(service_id)
                log.warning("service is away for long and is kept", id=service_id, reason=str(reason))
            return
        await self._done(service_id, "retired")

    async def _forget_ended(self, now: float) -> None:
        """A retired member's id is anybody's when no certificate for it is left, and no account is for it alone."""
        opens = sa.select(Assignment.worker_id).where(Assignment.worker_id == Member.service_id)
        async with self._database.transaction() as session:
            ended = sa.delete(Member).where(Member.retired_at.is_not(None), Member.certified_until < now)
            # 0: enrolled before it was written down until when.
            await session.execute(ended.where(Member.certified_until > 0, sa.not_(Member.revoked), ~opens.exists()))

    # How it is done.

    async def _let_go(self, session: AsyncSession, service_id: str) -> None:
        """Its accounts are locked. Raises `NotNow` when it alone has what accounts need."""
        await self._rehome(session, service_id)
        alone = set(await _only_assigned(session, service_id, names=False))
        for assignment in await session.scalars(sa.select(Assignment).where(Assignment.worker_id == service_id)):
            if assignment.account_id not in alone:  # without any it would be everybody's
                await session.delete(assignment)
        for table in (Drain, ServiceName, Service):
            if (row := await session.get(table, service_id)) is not None:
                await session.delete(row)
        if (member := await session.get(Member, service_id)) is not None and not member.revoked:
            member.retired_at = time.time()

    async def _rehome(self, session: AsyncSession, storage_id: str) -> None:
        """Accounts of this Storage whose sessions another runs, out of the same vault, are that one's from now on."""
        left = []
        for account in await session.scalars(sa.select(Account).where(Account.storage_id == storage_id)):
            others = (each for each in self._live.of_kind("storage") if each.service_id != storage_id)
            runs = next((each for each in others if each.report_of(account.session_id)), None)
            if runs is None:
                left.append(account.phone or account.username or account.account_id)
            else:
                account.storage_id = runs.service_id
        if left:
            raise NotNow(
                f"{', '.join(sorted(left))}: no other Storage has the session; start this one or another on its vault, "
                "or remove the account first (",
                REMOVE_ACCOUNT,
                ")",
            )

    async def _done(self, service_id: str, how: str) -> None:
        self._kept.discard(service_id)
        log.info(f"service {how}", id=service_id)
        await self._fleet.refresh()
        self._configurations.changed()


async def _lock_accounts(session: AsyncSession, worker_id: str) -> None:
    """Two Workers that leave at once must not each count on the other: an account without any is everybody's."""
    mine = sa.select(Assignment.account_id).where(Assignment.worker_id == worker_id)
    query = sa.select(Account.account_id).where(Account.account_id.in_(mine)).order_by(Account.account_id)
    await session.execute(query.with_for_update())


async def _only_assigned(session: AsyncSession, worker_id: str, *, names: bool = True) -> list[str]:
    """The accounts that no other Worker may use: how people call them, or their ids."""
    others = sa.select(Assignment.account_id).where(Assignment.worker_id != worker_id)
    found = sa.select(Account).join(Assignment, Assignment.account_id == Account.account_id)
    found = found.where(Assignment.worker_id == worker_id, Account.account_id.not_in(others))
    accounts = (await session.scalars(found.order_by(Account.account_id))).all()
    return [(each.phone or each.username or each.account_id) if names else each.account_id for each in accounts]
