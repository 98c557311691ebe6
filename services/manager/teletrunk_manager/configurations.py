"""What Workers are told: the sessions and trunks that exist, and where the sessions are."""

from __future__ import annotations

import sqlalchemy as sa

from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.live import Live


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
    """Sends every attached Worker its configuration whenever something changes."""

    def __init__(self, database: Database, live: Live) -> None:
        self._database = database
        self._live = live

    async def current(self) -> pb.WorkerConfig:
        async with self._database.transaction() as session:
            accounts = (await session.scalars(sa.select(Account))).all()
            trunk_ids = (await session.scalars(sa.select(Trunk.trunk_id))).all()
        sessions = [assignment(account, self._live) for account in accounts]
        return pb.WorkerConfig(
            sessions=[session for session in sessions if session.storage_address], trunk_ids=trunk_ids
        )

    async def push(self) -> None:
        config = await self.current()
        for worker in self._live.of_kind("worker"):
            worker.outbox.put_nowait(pb.AttachResponse(worker=config))
