"""What is told when there is more of it than may be told."""

from __future__ import annotations

import asyncio
import json

import pytest
import sqlalchemy as sa
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager import news as told
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Delivery, Webhook
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.news import News
from teletrunk_manager.passwords import PasswordSeal


async def test_a_busy_worker_s_calls_leave_room_for_its_registrations(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(told, "_MOST", 10)
    news = News(database, Deliveries(database, PasswordSeal(bytes(32))))
    events: list[str] = []
    monkeypatch.setattr(news, "tell", lambda event, _: events.append(event))
    before = pb.Heartbeat(registered_trunk_ids=["t1"])
    for beat in range(20):
        now = pb.Heartbeat(registered_trunk_ids=["t1"], calls=[pb.LiveCall(call_id=str(beat), answered_at=1.0)])
        news.compare("w1", before, now)
        before = now
    news.compare("w1", before, pb.Heartbeat())
    assert events[-1] == "registration.down"
    assert 5 <= events.count("call.started") + events.count("call.answered") < 10
    assert capsys.readouterr().out.count("events are dropped: too many") == 1


async def test_nobody_is_told_of_what_does_not_exist(database: Database) -> None:
    deliveries = Deliveries(database, PasswordSeal(bytes(32)))
    news = News(database, deliveries)
    async with database.transaction() as session:
        session.add(Webhook(webhook_id="w", url="http://192.0.2.1/", sealed_secret=b""))
        session.add(Account(account_id="mine", user_id=1, session_id="s", storage_id="s"))
    thiefs = pb.Heartbeat(
        registered_trunk_ids=["none"],
        calls=[pb.LiveCall(call_id="c1", account_id="none"), pb.LiveCall(call_id="c2", account_id="mine")],
    )
    news.compare("thief", pb.Heartbeat(), thiefs)
    writing = asyncio.create_task(news.keep_writing())
    try:
        async with asyncio.timeout(20):
            while not (bodies := await _bodies(database)):
                await asyncio.sleep(0.05)
    finally:
        writing.cancel()
    assert [json.loads(body)["call"]["call_id"] for body in bodies] == ["c2"], "the last of three"


async def _bodies(database: Database) -> list[str]:
    async with database.transaction(reading=True) as session:
        return list((await session.scalars(sa.select(Delivery.body))).all())
