"""A mistake of ours in the middle of a call: it ends as any other, and its record says whose fault it was."""

from __future__ import annotations

import pytest
from teletrunk_worker.call import events as on

from tests.simulated_time import simulated

from .call_world import CallWorld, Leg
from .tape import Tape


class CannotRing(Leg):
    def ring(self) -> None:
        raise RuntimeError("a mistake")


class CannotEnd(Leg):
    def end(self, end: object) -> None:
        raise RuntimeError("another")


class CannotGo(Leg):
    def release(self) -> None:
        super().release()
        raise RuntimeError("and another")


@pytest.mark.parametrize("kind", [CannotRing, CannotEnd, CannotGo])
@pytest.mark.parametrize("first", [on.Admitted(30), on.Taken()], ids=["from a pbx", "from telegram"])
def test_a_mistake_ends_its_call_and_leaves_nothing_behind(kind: type[Leg], first: on.Event) -> None:
    world = CallWorld(Tape(b""), kind)
    simulated(world.live(first))
    assert len(world.reported) == 1
