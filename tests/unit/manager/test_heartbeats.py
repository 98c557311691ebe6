"""What services say of themselves, checked."""

from __future__ import annotations

import math
from typing import Any

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import trunk_pb2
from teletrunk_manager.heartbeats import checked, require_sensible, rest_after
from teletrunk_manager.live import Attached
from teletrunk_manager.mistakes import Mistake


def test_what_an_honest_worker_and_storage_say_is_kept() -> None:
    call = pb.LiveCall(call_id="c1", account_id="a", trunk_id="t", caller="Пётр 🙂", called="@bob", invited_at=1.5)
    worker = pb.Heartbeat(
        active_calls=1,
        registrations=2,
        lines=[pb.Line(subscription_id="s", call_id="c1", proof=b"p" * 32)],
        registered_trunk_ids=["t1", "t2"],
        draining=True,
        trunk_states=[trunk_pb2.TrunkState(trunk_id="t3", up=True, why="registered", since=1.0)],
        tells_bindings=True,
        most_calls=400,
        calls=[call] * 400,
    )
    storage = pb.Heartbeat(
        draining=True,
        sessions=[pb.SessionReport(session_id="storage-1/1", state=pb.SESSION_STATE_ACTIVE, proof=b"p" * 32)] * 10_000,
    )
    for said, of_worker in ((worker, True), (storage, False)):
        before = said.SerializeToString(deterministic=True)
        assert checked(said, of_worker=of_worker).SerializeToString(deterministic=True) == before


def test_what_makes_no_sense_is_left_out() -> None:
    good = pb.LiveCall(call_id="good")
    calls = [
        pb.LiveCall(call_id=""),
        pb.LiveCall(call_id="x" * 129),
        pb.LiveCall(call_id="n\0l"),
        pb.LiveCall(call_id="c", account_id="a\0b"),
        pb.LiveCall(call_id="c", trunk_id="a b"),
        pb.LiveCall(call_id="c", invited_at=math.nan),
        pb.LiveCall(call_id="c", answered_at=math.inf),
        good,
    ]
    long = pb.LiveCall(call_id="long", caller="x" * 3_500_000, called="a\0b", worker_id="another")
    kept = checked(pb.Heartbeat(calls=[*calls, long]), of_worker=True).calls
    assert list(kept) == [good, pb.LiveCall(call_id="long", caller="x" * 256, called="ab")]
    sessions = [pb.SessionReport(session_id="s", proof=b"p" * 129), pb.SessionReport(session_id="", reason="r")]
    assert not checked(pb.Heartbeat(sessions=sessions), of_worker=False).sessions
    states = [trunk_pb2.TrunkState(trunk_id="t", why="w" * 9_999), trunk_pb2.TrunkState(trunk_id="t", since=math.nan)]
    assert [len(s.why) for s in checked(pb.Heartbeat(trunk_states=states), of_worker=True).trunk_states] == [256]


def test_more_than_any_service_says_is_left_out_and_what_is_anothers_to_say() -> None:
    calls = [pb.LiveCall(call_id=str(number)) for number in range(40_000)]
    states = [trunk_pb2.TrunkState(trunk_id=str(number)) for number in range(100_000)]
    said = pb.Heartbeat(calls=calls, trunk_states=states, sessions=[pb.SessionReport(session_id="s")])
    of_storage = checked(pb.Heartbeat.FromString(said.SerializeToString()), of_worker=False)
    assert (len(of_storage.calls), len(of_storage.trunk_states), len(of_storage.sessions)) == (0, 0, 1)
    of_worker = checked(said, of_worker=True)
    assert (len(of_worker.calls), len(of_worker.trunk_states), len(of_worker.sessions)) == (1_000, 20_000, 0)


@pytest.mark.parametrize("texts", [
    {"worker_id": ""}, {"sip_address": ""}, {"worker_id": "a b"}, {"worker_id": "x" * 129}, {"name": "n\0"},
    {"sip_address": "x" * 3_000_000}, {"version": "v" * 257},
])  # fmt: skip
def test_a_hello_s_texts_have_a_limit(texts: dict[str, str]) -> None:
    usual: dict[str, Any] = {"worker_id": "w", "name": "n", "version": "1", "sip_address": "192.0.2.1:5060"}
    hello = pb.WorkerHello(**{**usual, **texts})
    with pytest.raises(Mistake, match=r"^a hello"):
        require_sensible(hello, hello.worker_id, hello.sip_address)


def test_large_messages_are_read_seldom_and_nobody_is_told_what_they_do_not_read() -> None:
    assert rest_after(pb.AttachRequest()) == 0.02
    assert rest_after(pb.AttachRequest(heartbeat=pb.Heartbeat(registered_trunk_ids=["x" * 1_000_000]))) > 0.5
    service = Attached("w", "worker", "a")
    service.beat(pb.Heartbeat(registered_trunk_ids=[f"{number:0100}" for number in range(10_000)]))
    change = pb.Heartbeat(changes_only=True, registered_trunk_ids=["x"])
    service.beat(change)
    assert rest_after(pb.AttachRequest(heartbeat=change), service.heartbeat) > 0.5, "a little change is of all of it"
    for _ in range(400_000 // 100):
        service.beat(pb.Heartbeat())
    assert service.outbox.qsize() == 1_000
