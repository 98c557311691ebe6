"""Calls that are up, as the Manager shows them and lets people touch them."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account
from teletrunk_manager.live import Attached, Live, Seen
from teletrunk_manager.live_calls import LiveCalls
from teletrunk_manager.mistakes import NotNow
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
    live.see({"w1": elsewhere.record()}, asyncio.get_running_loop().time())
    streams = Streams(live, state)
    calls = LiveCalls(database, live, streams)
    listening = asyncio.create_task(streams.keep_handing_on())
    try:
        with pytest.raises(NotNow, match="attached to another Manager"):
            await calls.hang_up("c1")
    finally:
        listening.cancel()
