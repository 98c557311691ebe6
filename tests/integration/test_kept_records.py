"""What the Manager keeps of the records that it is told, and what it turns away: on both databases."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa
from teletrunk.identity import Identity
from teletrunk.metrics import REFUSED_DROPPED
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2
from teletrunk_manager import call_records, reported_calls
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.grace import PROOFS
from teletrunk_manager.db.tables import Account, Assignment, Call, Trunk, Upgrade
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.mistakes import Mistake
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.reported_calls import ReportedCalls
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.subscriptions import Subscriptions

OUT, IN = call_pb2.DIRECTION_SIP_TO_TELEGRAM, call_pb2.DIRECTION_TELEGRAM_TO_SIP
WORKER = Identity("worker", "w1")
KEY = bytes(32)


class Records:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.proofs = Proofs(KEY)
        subscriptions = Subscriptions(database, MemoryState(), self.proofs)
        self._reported = ReportedCalls(database, subscriptions, Deliveries(database, PasswordSeal(KEY)), self.proofs)

    async def keep(self, call_id: str, **fields: Any) -> None:
        now = time.time()
        given = call_pb2.CallRecord(call_id=call_id, worker_id=WORKER.id, invited_at=now, ended_at=now)
        given.MergeFrom(call_pb2.CallRecord(**fields))
        await self._reported.keep(given, WORKER)

    async def of(self, column: Any) -> list[Any]:
        async with self.database.transaction(reading=True) as session:
            return list(await session.scalars(sa.select(column).order_by(Call.call_id)))


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


async def test_a_number_of_any_length_is_kept_whole_and_found(records: Records) -> None:
    dialled = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(1_500))
    refused = {"direction": OUT, "error_id": "number-not-allowed", "caller": "office"}
    await records.keep("c1", **refused, called=dialled)
    await records.keep("c2", **refused, called="1" * 5_000)
    shortened = await records.of(Call.called)
    assert dialled.startswith(shortened[0]) and 150 < len(shortened[0]) <= 255
    assert len(shortened[0].encode()) <= 600 and shortened[1] == "1" * 255
    async with records.database.transaction(reading=True) as session:
        found = (await call_records.page(session, pb.ListCallsRequest(number=dialled))).calls
    assert [(record.call_id, record.called) for record in found] == [("c1", dialled)]


async def test_a_record_that_cannot_be_stored_is_a_mistake_and_the_database_is_well(records: Records) -> None:
    proof = records.proofs.of_route("c1", WORKER.id, "a")
    long = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(3_000))
    try:
        await records.keep("c1", direction=IN, account_id="a", route_proof=proof, error_id=long)
    except Mistake as mistake:
        assert "cannot be stored" in str(mistake)
    else:
        assert await records.of(Call.error_id) == [long], "SQLite has room"
    assert not records.database.failing


async def add_account(records: Records, account_id: str, worker_id: str = "") -> None:
    """With a trunk, `login-ACCOUNT`; if given, for this Worker only."""
    async with records.database.transaction() as session:
        session.add(
            Account(account_id=account_id, user_id=len(account_id), session_id=f"s-{account_id}", storage_id="s")
        )
        await session.flush()
        trunk = Trunk(trunk_id=f"t-{account_id}", login=f"login-{account_id}", account_id=account_id)
        trunk.sealed_password = b""
        session.add(trunk)
        if worker_id:
            session.add(Assignment(account_id=account_id, worker_id=worker_id))


async def test_a_caller_from_telegram_who_gives_up_before_the_routing_is_kept(records: Records) -> None:
    await add_account(records, "mine")
    await records.keep("c1", direction=IN, account_id="mine", caller="bob", ended_by="telegram")
    assert await records.of(Call.routed) == [False]
    with pytest.raises(Mistake, match="needs the row"):
        await records.keep("c2", direction=OUT, caller="login-mine", ended_by="pbx")


async def test_an_assignment_made_later_loses_no_record(records: Records) -> None:
    await add_account(records, "mine", "another")
    now = time.time()
    async with records.database.transaction() as session:
        session.add(Upgrade(what=PROOFS, at=now))
    whole = {"direction": OUT, "account_id": "mine", "trunk_id": "t-mine"}
    await records.keep("c1", **whole, invited_at=now, answered_at=now, ended_at=now + 60)
    with pytest.raises(Mistake, match="assigned to other"):
        await records.keep("x", **whole)
    await records.keep("c2", direction=OUT, caller="login-mine", error_id="worker-full")
    assert await records.of(Call.routed) == [True, False]
    assert await records.of(Call.account_id) == ["mine", "mine"]


async def test_a_refused_call_of_an_account_that_is_none_is_a_mistake(records: Records) -> None:
    with pytest.raises(Mistake, match="no such account"):
        await records.keep("c1", direction=IN, account_id="made-up", error_id="worker-full")
    assert await records.of(Call.call_id) == []


async def test_an_outage_s_refused_calls_are_kept_by_their_own_times(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as a Worker writes down in ten minutes; more of them are dropped, and counted."""
    monkeypatch.setattr(reported_calls, "_MOST_IN_A_SPAN", 3)
    await add_account(records := Records(database), "mine")
    refused = {"direction": OUT, "caller": "login-mine", "error_id": "worker-full"}
    begun = time.time() // 600 * 600 - 3_600
    for number in range(9):
        await records.keep(f"c{number}", **refused, invited_at=begun + number * 200)
    dropped = REFUSED_DROPPED.labels("trunk")._value.get()
    await records.keep("d", **refused, invited_at=begun + 599)
    assert await records.of(Call.call_id) == [f"c{number}" for number in range(9)]
    assert REFUSED_DROPPED.labels("trunk")._value.get() == dropped + 1


async def test_a_worker_s_refused_calls_are_so_many_whatever_it_names(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reported_calls, "_REFUSED_AT_ONCE", 3)
    monkeypatch.setattr(reported_calls, "_REFUSED_A_SECOND", 0.001)  # however long this machine takes over it
    records = Records(database)
    for number in range(5):
        await add_account(records, name := "m" * (number + 1))
        await records.keep(f"c{number}", direction=OUT, caller=f"login-{name}", error_id="worker-full")
    assert len(await records.of(Call.call_id)) == 3


async def test_no_mark_is_shown(records: Records) -> None:
    """As Managers of before have kept it with the record."""
    kept = call_pb2.CallRecord(call_id="c1", route_proof=call_pb2.RouteProof(mark=b"m"))
    async with records.database.transaction() as session:
        session.add(Call(call_id="c1", account_id="", invited_at=1.0, record=kept.SerializeToString()))
    async with records.database.transaction(reading=True) as session:
        listed = (await call_records.page(session, pb.ListCallsRequest())).calls
        shown = [*listed, await call_records.one(session, "c1")]
    assert [record.HasField("route_proof") for record in shown] == [False, False]
