"""What Workers are told: the sessions and trunks that exist, and where the sessions are."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import structlog
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.live import Live

log = structlog.get_logger()

_RETRY_S = 1.0


def assignment(account: Account, live: Live) -> pb.SessionAssignment:
    """Where the account's session runs now; no address while its Storage is away."""
    storage = live.find(account.storage_id)
    return pb.SessionAssignment(
        session_id=account.session_id,
        account_id=account.account_id,
        storage_id=account.storage_id,
        storage_address=storage.address if storage else "",
    )


class Configurations:
    """Sends every attached Worker its configuration whenever something changes.

    One sender reads and sends, so a Worker never gets an older configuration after a newer one, and a database
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
                config = await self._current()
            except Refusal:
                log.exception("workers wait for their configuration")
                self._changed.set()
                await asyncio.sleep(_RETRY_S)
                continue
            for worker in self._live.of_kind("worker"):
                worker.configure(config)

    async def _current(self) -> pb.WorkerConfig:
        async with self._database.transaction() as session:
            accounts = (await session.scalars(sa.select(Account).order_by(Account.account_id))).all()
            trunk_ids = (await session.scalars(sa.select(Trunk.trunk_id).order_by(Trunk.trunk_id))).all()
        sessions = [assignment(account, self._live) for account in accounts]
        return pb.WorkerConfig(
            sessions=[session for session in sessions if session.storage_address], trunk_ids=trunk_ids
        )
