"""Calls that are up: seen in the heartbeats of the Workers that carry them, and wishes that are handed to these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa
import structlog
from teletrunk.remedies import LIST_LIVE_CALLS, Shows
from teletrunk.telemetry import of_call
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.accounts import visible
from teletrunk_manager.db.audit import WHO, asker
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.live import Live, Seen
from teletrunk_manager.mistakes import Mistake, NotNow, NotYours, Unknown
from teletrunk_manager.streams import Streams

log = structlog.get_logger()

_DIGITS: Final = re.compile(r"[0-9*#A-D,]{1,32}")
_ASKED_AT_ONCE: Final = 10_000  # PostgreSQL takes 32,767 values


class LiveCalls:
    def __init__(self, database: Database, live: Live, streams: Streams) -> None:
        self._database = database
        self._live = live
        self._streams = streams

    async def all(self, of: str = "") -> list[pb.LiveCall]:
        """Those that the asker may see, newest first; `of` an account's or a trunk's id, if given."""
        here = [(worker, call) for worker, call in self._everywhere() if of in ("", call.account_id, call.trunk_id)]
        theirs = await self._visible({call.account_id for _, call in here})
        found = []
        for worker, call in here:
            if call.account_id in theirs:
                shown = pb.LiveCall()
                shown.CopyFrom(call)
                shown.worker_id = worker.service_id  # and not whom it names
                found.append(shown)
        return sorted(found, key=lambda call: call.call_id, reverse=True)  # ids sort by time

    async def press(self, call: str, digits: str) -> None:
        """Raises `Mistake`, `Unknown`, `NotNow`."""
        if not _DIGITS.fullmatch(digits.upper()):
            raise Mistake("press 1 to 32 of 0123456789*#ABCD; a comma waits for half a second")
        found = await self._own(call)
        if not found.answered_at:
            raise NotNow("the call is not answered yet: keys are pressed in a call that talks")
        await self._hand(found.worker_id, pb.CallWish(call_id=found.call_id, digits=digits.upper()))

    async def hang_up(self, call: str) -> None:
        """Raises `Mistake`, `Unknown`, `NotNow`."""
        found = await self._own(call)
        log.info("call is ended", **of_call(found), who=WHO.get())
        await self._hand(found.worker_id, pb.CallWish(call_id=found.call_id, hang_up=WHO.get() or "operator"))

    async def _own(self, wanted: str) -> pb.LiveCall:
        """Who shares an account looks at all of its calls, and touches those of trunks of their own.

        Raises `Mistake`, `Unknown`, `NotYours`.
        """
        call = await self._one(wanted)
        if not asker():
            return call
        owned = sa.select(Account.account_id).where(Account.account_id == call.account_id, Account.owner == asker())
        theirs = sa.select(Trunk.trunk_id).where(Trunk.trunk_id == call.trunk_id, Trunk.administrator == asker())
        async with self._database.transaction(reading=True) as session:
            if await session.scalar(owned) is None and await session.scalar(theirs) is None:
                raise NotYours("only the account's owner can do that, or whoever has made the call's trunk")
        return call

    async def _one(self, wanted: str) -> pb.LiveCall:
        """By an id, its beginning or its end. A Worker may name any id as its own: CALL@WORKER says whose is meant."""
        wanted, _, worker_id = wanted.partition("@")
        fit = [
            call
            for call in await self.all()
            if (call.call_id.startswith(wanted) or call.call_id.endswith(wanted)) and worker_id in ("", call.worker_id)
        ]
        exact = [call for call in fit if call.call_id == wanted]
        if not fit or not wanted:
            raise Unknown(f"there is no call {wanted} now: ", Shows(LIST_LIVE_CALLS))
        if len(exact) > 1:
            named = " or ".join(f"{wanted}@{call.worker_id}" for call in exact)
            raise Mistake(f"several Workers say that they carry {wanted}: say which is meant, {named}")
        if len(exact or fit) > 1:
            raise Mistake(f"several calls begin or end with {wanted}: give more of the id")
        return (exact or fit)[0]

    async def _hand(self, worker_id: str, wish: pb.CallWish) -> None:
        if not await self._streams.hand(worker_id, pb.AttachResponse(wish=wish)):
            raise NotNow("the call's Worker is attached to another Manager, which cannot be reached now")

    def _everywhere(self) -> Iterator[tuple[Seen, pb.LiveCall]]:
        for worker in self._live.of_kind("worker"):
            for call in worker.heartbeat.calls:
                yield worker, call

    async def _visible(self, account_ids: set[str]) -> set[str]:
        """Those of these accounts that the asker may see."""
        wanted, found = sorted(account_ids), set[str]()
        if not wanted:
            return found
        async with self._database.transaction(reading=True) as session:
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                some = Account.account_id.in_(wanted[start : start + _ASKED_AT_ONCE])
                found |= set(
                    await session.scalars(sa.select(Account.account_id).where(some, visible(Account.account_id)))
                )
        return found
