"""What Workers say of trunks is looked up, and not looked through: lists of thousands ask for each."""

from __future__ import annotations

import gc
import sys
from collections import Counter

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkState
from teletrunk_manager.live import Attached, Seen


def heartbeat(count: int, *, up: bool = True) -> pb.Heartbeat:
    states = [TrunkState(trunk_id=f"t{number}", up=up) for number in range(count)]
    return pb.Heartbeat(trunk_states=states, registered_trunk_ids=[state.trunk_id for state in states if up])


async def test_each_heartbeat_is_believed() -> None:
    worker = Attached("w", "worker", "127.0.0.1", heartbeat(3))
    state = worker.state_of("t2")
    assert state is not None and state.up and worker.is_registered("t2")
    worker.beat(heartbeat(3, up=False))
    state = worker.state_of("t2")
    assert state is not None and not state.up and not worker.is_registered("t2")
    assert worker.state_of("t3") is None


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_trunk_costs_the_same_whatever_else_was_said(count: int) -> None:
    worker = Seen("w", "worker", "127.0.0.1", heartbeat(count))
    assert worker.is_registered(f"t{count - 1}")
    calls: Counter[str] = Counter()
    gc.disable()
    sys.setprofile(lambda frame, event, argument: calls.update([event]))
    try:
        found = worker.state_of(f"t{count - 1}"), worker.is_registered("t0")
    finally:
        sys.setprofile(None)
        gc.enable()
    assert None not in found and calls["call"] == 4
