"""Lists of which a stream carries the changes: both sides see the same, and what has not changed costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teletrunk.changes import HEARTBEAT, Beats, Heard
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkState
from teletrunk_manager.heartbeats import checked, picture

PULSE = pb.Pulse(takes_changes=True)
Said = dict[str, list[Any]]
ids = st.sets(st.sampled_from("abcdef"))


@st.composite
def said(draw: st.DrawFn) -> Said:
    return {
        "registered_trunk_ids": sorted(draw(ids)),
        "trunk_states": [TrunkState(trunk_id=id_, up=draw(st.booleans())) for id_ in sorted(draw(ids))],
        "calls": [pb.LiveCall(call_id=id_, answered_at=draw(st.integers(0, 1))) for id_ in sorted(draw(ids))],
    }


def sent(heartbeat: pb.Heartbeat) -> pb.Heartbeat:
    return pb.Heartbeat.FromString(heartbeat.SerializeToString())


def many(count: int, *, but: int = -1) -> Said:
    """What a Worker of so many trunks says, and a Storage of so many sessions; one of each is another."""
    numbers = range(count)
    return {
        "sessions": [
            pb.SessionReport(session_id=f"s/{n:05}", state=pb.SESSION_STATE_ACTIVE, user_id=int(but == n))
            for n in numbers
        ],
        "registered_trunk_ids": [f"{n:012x}" for n in numbers if n != but],
        "trunk_states": [TrunkState(trunk_id=f"{n:012x}", up=n != but, why="registered", since=1.0) for n in numbers],
        "calls": [pb.LiveCall(call_id=f"c{n:05}", answered_at=but == n) for n in range(min(count, 400))],
    }


def steady(count: int) -> tuple[Beats, Heard]:
    beats, heard = Beats(), Heard(HEARTBEAT)
    heard.take(sent(beats.next(pb.Heartbeat(), many(count))))
    beats.answered(PULSE)
    return beats, heard


@given(st.lists(st.tuples(said(), st.booleans()), max_size=6))
def test_both_sides_see_the_same(steps: list[tuple[Said, bool]]) -> None:
    beats, heard = Beats(), picture()
    for lists, answers in steps:
        heard.take(checked(sent(beats.next(pb.Heartbeat(), lists)), of_worker=True))
        for name, entries in lists.items():
            assert sorted(heard.lists[name].values(), key=str) == sorted(entries, key=str), name
        if answers:
            beats.answered(PULSE)


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_heartbeat_is_as_large_as_what_has_changed(count: int) -> None:
    beats, heard = steady(count)
    idle = sent(beats.next(pb.Heartbeat(active_calls=1), many(count)))
    assert idle.ByteSize() == 4 and not heard.take(idle)
    changed = sent(beats.next(pb.Heartbeat(), many(count, but=0)))
    assert changed.ByteSize() == 88
    assert heard.take(changed).names == {"sessions", "registered_trunk_ids", "trunk_states", "calls"}


def test_an_older_manager_is_told_all_each_time() -> None:
    beats = Beats()
    for _ in range(2):
        beats.answered(pb.Pulse())
        heartbeat = beats.next(pb.Heartbeat(), many(3))
        assert not heartbeat.changes_only and len(heartbeat.trunk_states) == 3


def test_by_and_by_no_more_is_said_than_at_once() -> None:
    """A stolen certificate's: what one heartbeat could not have fills no memory in many."""
    heard = picture()
    for start in (0, 15_000):
        states = [TrunkState(trunk_id=f"t{n}") for n in range(start, start + 15_000)]
        heard.take(checked(pb.Heartbeat(trunk_states=states, changes_only=True), of_worker=True))
    assert len(heard.lists["trunk_states"]) == 20_000
    heard = picture()
    for start in (0, 2_500):
        states = [TrunkState(trunk_id=f"t{n}", why="\U0001f600" * 256) for n in range(start, start + 2_500)]
        heard.take(checked(pb.Heartbeat(trunk_states=states, changes_only=True), of_worker=True))
    assert 3_900_000 < heard.whole(pb.Heartbeat()).ByteSize() < 4_300_000
    gone = pb.Heartbeat(changes_only=True, gone_trunk_states=list(heard.lists["trunk_states"]) * 2)
    assert heard.take(gone).names == {"trunk_states"} and not heard.lists["trunk_states"]
    heard.take(pb.Heartbeat(changes_only=True, trunk_states=[TrunkState(trunk_id="t", why="w" * 256)]))
    assert list(heard.lists["trunk_states"]) == ["t"], "what is gone makes room"
