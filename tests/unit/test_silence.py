"""A phone that vanishes is noticed; one that is on hold, or only quiet for a while, is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.legs.silence import LONGEST_S, Silence


def test_a_phone_that_vanishes_is_noticed_once_it_has_been_silent_for_long() -> None:
    silence = Silence(0.0)
    assert not any(silence.too_long(second * 50, float(second), promised=True) for second in range(100))
    seen = [silence.too_long(99 * 50, float(second), promised=True) for second in range(100, 170)]
    assert seen.index(True) == LONGEST_S


def test_a_phone_that_promises_no_sound_may_be_silent_and_is_watched_again_afterwards() -> None:
    silence = Silence(0.0)
    assert not any(silence.too_long(7, float(second), promised=False) for second in range(1000))
    assert not silence.too_long(7, 1000 + LONGEST_S - 2, promised=True)
    assert silence.too_long(7, 1000 + LONGEST_S + 2, promised=True)


@given(st.lists(st.tuples(st.floats(0.1, LONGEST_S), st.integers(1, 5000))))
def test_no_pause_that_is_short_enough_ends_a_call(pauses: list[tuple[float, int]]) -> None:
    silence, now, received = Silence(0.0), 0.0, 0
    for pause, packets in pauses:
        now, received = now + pause, received + packets
        assert not silence.too_long(received, now, promised=True)
