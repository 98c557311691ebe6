"""pjsip's ioqueue has 64 places for the sockets of sound, rests that of a closed one for half a second, and aborts."""

from __future__ import annotations

import time

from teletrunk_worker.legs.sound_port import Clock

from .sip_host_world import sip_host_world

_MORE_THAN_ITS_PLACES = 40  # two sockets each
_PLACES = 4


async def test_calls_that_begin_and_end_at_once_do_not_stop_a_host() -> None:
    """It says when it takes no more."""
    async with sip_host_world() as world:
        most = 0
        for number in range(_MORE_THAN_ITS_PLACES):
            ending = (await world.call_that_is_refused(f"c{number}"))["ending"]
            most = max(most, ending)
            while ending >= _PLACES:
                ending = (await world.event("ending"))["places"]
        assert most == _PLACES and world.process.returncode is None


def test_sockets_are_closed_when_the_tick_that_has_begun_is_over() -> None:
    Clock.called()
    Clock.wait_between_ticks()
    assert time.monotonic() - Clock.called_at >= 0.002
    Clock.called_at = 0.0
    began = time.monotonic()
    for _ in range(100):
        Clock.wait_between_ticks()
    assert time.monotonic() - began < 1.0, "of a clock that rests nobody waits for a tick"
