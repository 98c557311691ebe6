"""What services are told: Workers their sessions and trunks, Storages which Worker may use which session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Assignment, Drain, Member, Trunk
from teletrunk_manager.live import Live

log = structlog.get_logger()

_RETRY_S = 1.0


def assignment(account: Account, live: Live) -> pb.SessionAssignment:
    """Where the account's session runs now; no address while its Storage is away."""
    storage = live.place(account.session_id, account.storage_id)
    return pb.SessionAssignment(
        session_id=account.session_id,
        account_id=account.account_id,
        storage_id=storage.service_id if storage else account.storage_id,
        storage_address=storage.address if storage else "",
    )


class Configurations:
    """Sends every attached service its configuration whenever something changes.

    One sender reads and sends, so nobody ever gets an older configuration after a newer one, and a database
    that fails then does not spoil the answer to the change that was made.
    """

    def __init__(self, database: Database, live: Live) -> None:
        self._database = database
        self._live = live
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """An account, a trunk, a session's place or the attached Workers have changed."""
        self._changed.set()

    async def keep_sending(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                current = await self._read()
            except Refusal:
                log.exception("services wait for their configuration")
                self._changed.set()
                await asyncio.sleep(_RETRY_S)
                continue
            # The Storages first: a Worker must not be sent to a session before it may use it.
            for storage in self._live.of_kind("storage"):
                storage.configure(pb.AttachResponse(storage=current.of_storages()))
            for worker in self._live.of_kind("worker"):
                worker.configure(pb.AttachResponse(worker=current.of_worker(worker.service_id, self._live)))

    async def _read(self) -> Current:
        async with self._database.transaction() as session:
            accounts = (await session.scalars(sa.select(Account).order_by(Account.account_id))).all()
            trunks = (await session.scalars(sa.select(Trunk).order_by(Trunk.trunk_id))).all()
            assigned = (await session.scalars(sa.select(Assignment))).all()
            draining = (await session.scalars(sa.select(Drain.worker_id))).all()
            members = (await session.scalars(sa.select(Member).where(Member.kind == "worker"))).all()
        workers: dict[str, set[str]] = {}
        for row in assigned:
            workers.setdefault(row.account_id, set()).add(row.worker_id)
        revoked = {member.service_id for member in members if member.revoked}
        known = {member.service_id for member in members} | {w.service_id for w in self._live.of_kind("worker")}
        return Current(list(accounts), list(trunks), workers, frozenset(known - revoked), frozenset(draining))


@dataclass(frozen=True)
class Current:
    """What there is, as one transaction saw it."""

    accounts: list[Account]
    trunks: list[Trunk]
    assigned: dict[str, set[str]]  # account id to the Workers that may use it; none: all may
    workers: frozenset[str]
    draining: frozenset[str]

    def _may_use(self, worker_id: str, account_id: str) -> bool:
        return worker_id in self.assigned.get(account_id, self.workers)

    def of_worker(self, worker_id: str, live: Live) -> pb.WorkerConfig:
        usable = [account for account in self.accounts if self._may_use(worker_id, account.account_id)]
        sessions = [assignment(account, live) for account in usable]
        ids = {account.account_id for account in usable}
        return pb.WorkerConfig(
            sessions=[session for session in sessions if session.storage_address],
            trunk_ids=[trunk.trunk_id for trunk in self.trunks if trunk.account_id in ids],
            draining=worker_id in self.draining,
        )

    def of_storages(self) -> pb.StorageConfig:
        """The same for all: any of them may come to run any session of their vault."""
        return pb.StorageConfig(
            grants=[
                pb.WorkerGrant(
                    worker_id=worker,
                    session_ids=[a.session_id for a in self.accounts if self._may_use(worker, a.account_id)],
                )
                for worker in sorted(self.workers)
            ]
        )
