"""What is told when there is more of it than may be told."""

from __future__ import annotations

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager import news as told
from teletrunk_manager.db.database import Database
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
