"""pjsip's ioqueue has 64 places for the sockets of sound, rests that of a closed one for half a second, and aborts."""

from __future__ import annotations

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
