"""What a host says is believed only when it has the form that it must have."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.legs.host_events import EVENTS, checked_event

ENDED = {"event": "ended", "call": "c/a", "status": 200, "phrase": "OK", "by_us": True, "stats": {}, "ending": 0}


@pytest.mark.parametrize(
    "message",
    [
        {"event": "ready", "capacity": 4, "port": 5060, "rate": 8000},
        {"event": "ready", "capacity": 20},
        {**ENDED, "stats": {"codec": "PCMA/8000", "rtp_received": 7, "rtp_jitter_ms": 0.5}},
        {"event": "connected", "call": "c", "connect_ms": 41.5},
    ],
)
def test_what_hosts_say(message: dict[str, object]) -> None:
    assert checked_event(message) is message


@pytest.mark.parametrize(
    "message",
    [
        [], "ready", None, {}, {"event": ["ready"]}, {"event": "shutdown"},
        {"event": "ready", "capacity": "many"}, {"event": "ready", "capacity": True}, {"event": "ready"},
        {"event": "ready", "capacity": 0}, {"event": "ready", "capacity": 10**9},
        {"event": "ready", "capacity": 4, "port": -1}, {"event": "pong", "stats": {}},
        {**ENDED, "stats": []}, {**ENDED, "stats": {"rtp_received": "x"}}, {**ENDED, "stats": {"steps": 1}},
        {**ENDED, "status": 99_999}, {**ENDED, "phrase": None}, {**ENDED, "call": 7}, {**ENDED, "phrase": "x" * 70_000},
        {"event": "connected", "call": "c", "connect_ms": math.nan}, {"event": "ending", "places": -1},
    ],
)  # fmt: skip
def test_what_makes_no_sense(message: object) -> None:
    with pytest.raises(ValueError):
        checked_event(message)


@given(
    st.sampled_from(sorted(EVENTS)),
    st.dictionaries(st.sampled_from(["call", "status", "capacity", "stats", "why", "data", "places"]),
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())),
)  # fmt: skip
def test_nothing_else_is_raised(event: str, fields: dict[str, object]) -> None:
    with contextlib.suppress(ValueError):
        checked_event({**fields, "event": event})
