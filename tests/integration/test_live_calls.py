"""Calls that are up, as the Manager shows them and lets people touch them."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account
from teletrunk_manager.heartbeats import checked
from teletrunk_manager.live import Attached, Live, Seen
from teletrunk_manager.live_calls import LiveCalls
from teletrunk_manager.mistakes import Mistake, NotNow
from teletrunk_manager.state import Mark, Telling
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.streams import Streams


@pytest.fixture
async def account(database: Database) -> str:
    async with database.transaction() as session:
        session.add(Account(account_id="mine", user_id=1, session_id="s", storage_id="s"))
    return "mine"


async def test_a_call_is_its_reporter_s_whomever_it_names(database: Database, account: str) -> None:
    live = Live()
    thief, victim = Attached("w1", "worker", "a"), Attached("w2", "worker", "b")
    for worker in (thief, victim):
        live.attach(worker)
    thief.heartbeat = pb.Heartbeat(calls=[pb.LiveCall(call_id="c1", account_id=account, worker_id="w2")])
    calls = LiveCalls(database, live, Streams(live, MemoryState()))
    assert [call.worker_id for call in await calls.all()] == ["w1"]
    await calls.hang_up("c1")
    assert victim.outbox.empty() and thief.outbox.get_nowait().wish.call_id == "c1"  # type: ignore[union-attr]


async def test_a_wish_that_no_manager_hears_is_not_taken(database: Database, account: str) -> None:
    """The other Manager is away, and this one alone listens."""
    live, state = Live(), MemoryState()
    elsewhere = Seen("w1", "worker", "a", pb.Heartbeat(calls=[pb.LiveCall(call_id="c1", account_id=account)]))
    live.hear("w1", Telling(Mark("stamp"), True, [elsewhere.record()]), asyncio.get_running_loop().time())
    streams = Streams(live, state)
    calls = LiveCalls(database, live, streams)
    listening = asyncio.create_task(streams.keep_handing_on())
    try:
        with pytest.raises(NotNow, match="attached to another Manager"):
            await calls.hang_up("c1")
    finally:
        listening.cancel()


async def test_who_names_anothers_call_keeps_nobody_from_ending_it(database: Database, account: str) -> None:
    live = Live()
    thief, victim = Attached("w1", "worker", "a"), Attached("w2", "worker", "b")
    for worker in (thief, victim):
        live.attach(worker)
        worker.heartbeat = pb.Heartbeat(calls=[pb.LiveCall(call_id="c1", account_id=account)])
    calls = LiveCalls(database, live, Streams(live, MemoryState()))
    with pytest.raises(Mistake, match="say which is meant, c1@w1 or c1@w2"):
        await calls.hang_up("c1")
    await calls.hang_up("c1@w2")
    assert thief.outbox.empty() and victim.outbox.get_nowait().wish.call_id == "c1"  # type: ignore[union-attr]


async def test_calls_of_any_number_of_accounts_that_are_none_hide_no_other(database: Database, account: str) -> None:
    """PostgreSQL takes 32,767 values in one question, and no NUL."""
    live = Live()
    for worker_id in map(str, range(40)):
        worker = Attached(worker_id, "worker", "a")
        live.attach(worker)
        said = [pb.LiveCall(call_id=f"{n}", account_id=f"{worker_id}-{n}") for n in range(1_000)]
        worker.beat(
            checked(pb.Heartbeat(calls=[*said[1:], pb.LiveCall(call_id="x", account_id="a\0b")]), of_worker=True)
        )
    worker.beat(pb.Heartbeat(calls=[pb.LiveCall(call_id="honest", account_id=account)]))
    calls = LiveCalls(database, live, Streams(live, MemoryState()))
    assert [call.call_id for call in await calls.all()] == ["honest"]
    assert not database.failing
