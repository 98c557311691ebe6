"""Where the Managers are, as services that enrol are told: each says in the database that it is there."""

from __future__ import annotations

import contextlib
import time

import sqlalchemy as sa
from teletrunk.errors import Refusal
from teletrunk.rpc import is_wildcard

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import ManagerAddress

_GONE_S = 600.0


class Managers:
    """`own` is how others reach this Manager; one that listens everywhere and was not told is not shown."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.own = ""

    async def show(self) -> None:
        """Called now and then: one that is silent for ten minutes is gone."""
        if not self.own or is_wildcard(self.own):
            return
        with contextlib.suppress(Refusal):  # the database is away: next time
            async with self._database.transaction() as session:
                await session.execute(sa.delete(ManagerAddress).where(ManagerAddress.seen_at < time.time() - _GONE_S))
                await session.merge(ManagerAddress(address=self.own, seen_at=time.time()))

    async def addresses(self) -> list[str]:
        """Ours first."""
        async with self._database.transaction(reading=True) as session:
            shown = sa.select(ManagerAddress.address).where(ManagerAddress.seen_at > time.time() - _GONE_S)
            found = set((await session.scalars(shown.order_by(ManagerAddress.address))).all())
        if self.own and not is_wildcard(self.own):
            return [self.own, *sorted(found - {self.own})]
        return sorted(found)
