"""What services are told: Workers their sessions and trunks, Storages which Worker may use which session."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import structlog
from teletrunk.changes import Lists
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_OUTBOUND

from teletrunk_manager.authentication import Pbx
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account
from teletrunk_manager.live import Attached, Live
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.state import OutOfReach, SharedState
from teletrunk_manager.stored import NOTHING, Stored, StoredReader, StoredTrunk

log = structlog.get_logger()

_RETRY_S = 1.0
_AFRESH_S = 10.0


def assignment(account: Account | Pbx, live: Live) -> pb.SessionAssignment:
    """Where the account's session runs now; no address while its Storage is away."""
    storage = live.place(account.session_id, account.storage_id)
    return pb.SessionAssignment(
        session_id=account.session_id,
        account_id=account.account_id,
        storage_id=storage.service_id if storage else account.storage_id,
        storage_address=storage.address if storage else "",
        account=account.phone or f"@{account.username}".rstrip("@"),
    )


class Configurations:
    """Sends every attached service its configuration whenever something changes.

    One sender reads and sends, so nobody ever gets an older configuration after a newer one, and a database
    that fails then does not spoil the answer to the change that was made.
    """

    def __init__(self, database: Database, live: Live, state: SharedState, seal: PasswordSeal) -> None:
        self._reader = StoredReader(database, seal)
        self._live = live
        self._state = state
        self._changed = asyncio.Event()
        self._stored = NOTHING  # what was read last
        self._is_stale = True
        self._read_at = -math.inf
        self._untold: set[bool] = set()  # whether what is stored has changed

    def changed(self) -> None:
        """An account, a trunk, a ban or a member has changed, by us."""
        self._untold.add(True)
        self.heard(stored=True)

    def moved(self) -> None:
        """A session's place or the attached Workers have changed, with us: nothing that the database has."""
        self._untold.add(False)
        self.heard(stored=False)

    def heard(self, *, stored: bool) -> None:
        """The one or the other, by another Manager."""
        self._is_stale |= stored
        self._changed.set()

    async def keep_sending(self) -> None:
        """Runs until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AFRESH_S):
                    await self._changed.wait()
            self._changed.clear()
            if self._untold:
                stored = any(self._untold)
                self._untold.clear()
                with contextlib.suppress(OutOfReach):  # then the others find out with their next look
                    await self._state.announce(stored=stored)
            try:
                await self._refresh()
            except Refusal:
                log.exception("services wait for their configuration")
                self._changed.set()
                await asyncio.sleep(_RETRY_S)
                continue
            current = Current(self._live, self._stored)
            # The Storages first: a Worker must not be sent to a session before it may use it.
            for storage in self._live.here("storage"):
                current.configure_storage(storage)
            for worker in self._live.here("worker"):
                worker.configure(current.of_worker(worker.service_id), current.lists_of(worker.service_id))

    async def _refresh(self) -> None:
        """Reads the database when something of it may be another: a PBX that registers costs no look at ten thousand
        trunks. And now and then: a ban has run out; another Manager's word was lost."""
        if not self._is_stale and time.monotonic() - self._read_at < _AFRESH_S:
            return
        self._is_stale = False  # what changes meanwhile may not be in what is read
        try:
            self._stored = await self._reader.read()
        except Refusal:
            self._is_stale = True
            raise
        self._read_at = time.monotonic()


@dataclass(frozen=True)
class Current:
    """What there is, and who is attached."""

    live: Live
    stored: Stored

    @cached_property
    def workers(self) -> frozenset[str]:
        known = self.stored.members | {worker.service_id for worker in self.live.of_kind("worker")}
        return known - self.stored.revoked

    def _may_use(self, worker_id: str, account_id: str) -> bool:
        return worker_id in self.stored.assigned.get(account_id, self.workers)

    def of_worker(self, worker_id: str) -> pb.WorkerConfig:
        """Without its lists."""
        return pb.WorkerConfig(draining=worker_id in self.stored.draining)

    def lists_of(self, worker_id: str) -> Lists:
        trunks = [trunk for trunk in self.stored.trunks if self._may_use(worker_id, trunk.row.account_id)]
        return {
            "sessions": list(self._sessions_of(worker_id)),
            "trunk_ids": [trunk.row.trunk_id for trunk in trunks],
            "bans": self.stored.bans,
            "trunks": [self._settings_at(worker_id, trunk) for trunk in trunks],
        }

    def _sessions_of(self, worker_id: str) -> Iterator[pb.SessionAssignment]:
        at_home, elsewhere = self._sessions
        for account_id in at_home:
            if self._may_use(worker_id, account_id):
                homes = self._homes.get(account_id, ())
                yield (elsewhere if homes and worker_id not in homes else at_home)[account_id]

    def _settings_at(self, worker_id: str, trunk: StoredTrunk) -> pb.TrunkSettings:
        return trunk.of_registrant if self._registrants.get(trunk.row.trunk_id) == worker_id else trunk.usual

    @cached_property
    def _sessions(self) -> tuple[dict[str, pb.SessionAssignment], dict[str, pb.SessionAssignment]]:
        """Those that a Storage runs, by account: for Workers at which its PBX is, or nobody is, and for all others.

        Made once for all of them: each stream remembers what it was told.
        """
        at_home, elsewhere = {}, {}
        for account in self.stored.accounts:
            session = assignment(account, self.live)
            if session.storage_address:
                at_home[account.account_id] = session
                elsewhere[account.account_id] = pb.SessionAssignment(elsewhere=True)
                elsewhere[account.account_id].MergeFrom(session)
        return at_home, elsewhere

    @cached_property
    def _registrants(self) -> dict[str, str]:
        """The one Worker that registers an outbound trunk: several would take each other's place at the PBX.

        The one that has registered already keeps it, whoever else comes; who comes later cannot take it by saying
        that it has. All Managers see the same, so they need not agree.
        """
        able = [
            worker
            for worker in self.live.of_kind("worker")
            if worker.service_id not in self.stored.draining and not worker.draining
        ]
        able.sort(key=lambda worker: (worker.attached_at, worker.service_id))
        outbound = [trunk for trunk in self.stored.trunks if trunk.usual.options.kind == TRUNK_KIND_OUTBOUND]
        chosen = {}
        for trunk in outbound:
            may = [worker for worker in able if self._may_use(worker.service_id, trunk.row.account_id)]
            has = (worker for worker in may if worker.has_up(trunk.row.trunk_id))
            if (worker := next(has, may[0] if may else None)) is not None:
                chosen[trunk.row.trunk_id] = worker.service_id
        return chosen

    @cached_property
    def _homes(self) -> dict[str, set[str]]:
        """The Workers at which an account's PBX is registered."""
        account_of = {trunk.row.trunk_id: trunk.row.account_id for trunk in self.stored.trunks}
        homes: dict[str, set[str]] = {}
        for worker in self.live.of_kind("worker"):
            for trunk_id in worker.heartbeat.registered_trunk_ids:
                account_id = account_of.get(trunk_id, "")
                if self._may_use(worker.service_id, account_id):  # whatever it says of others' trunks
                    homes.setdefault(account_id, set()).add(worker.service_id)
        return homes

    def configure_storage(self, storage: Attached) -> None:
        """The same for all: any of them may come to run any session of their vault."""
        if storage.told.in_parts:
            storage.configure(pb.StorageConfig(), {"worker_ids": sorted(self.workers), "sessions": self._grants})
        else:
            storage.configure(pb.StorageConfig(), {"grants": self._grants_by_worker})

    @cached_property
    def _grants(self) -> list[pb.SessionGrant]:
        assigned = (
            (account.session_id, self.stored.assigned.get(account.account_id, ())) for account in self.stored.accounts
        )
        return [pb.SessionGrant(session_id=session_id, worker_ids=sorted(may)) for session_id, may in assigned]

    @cached_property
    def _grants_by_worker(self) -> list[pb.WorkerGrant]:
        return [
            pb.WorkerGrant(
                worker_id=worker,
                session_ids=[a.session_id for a in self.stored.accounts if self._may_use(worker, a.account_id)],
            )
            for worker in sorted(self.workers)
        ]
