"""When a login rests, and who is heard meanwhile, in simulated time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.edge.throttle import FAILURES, FIRST_REST_S, LONGEST_REST_S, WINDOW_S, Throttle

HOME, STRANGER = "192.0.2.1", "192.0.2.7"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def guessed(throttle: Throttle, times: int, login: str = "office") -> None:
    for _ in range(times):
        throttle.failed(login)


def test_it_rests_longer_each_time_and_other_logins_do_not() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    throttle.succeeded("office", HOME)
    guessed(throttle, FAILURES - 1)
    assert throttle.seconds_left("office", STRANGER) == 0
    for expected in (FIRST_REST_S, 2 * FIRST_REST_S):
        guessed(throttle, FAILURES)
        assert throttle.seconds_left("office", STRANGER) == expected
        assert throttle.seconds_left("office", HOME) == 0 == throttle.seconds_left("other", STRANGER)
        clock.now += expected
        assert throttle.seconds_left("office", STRANGER) == 0
    clock.now += WINDOW_S + 1
    guessed(throttle, FAILURES)
    assert throttle.seconds_left("office", STRANGER) == FIRST_REST_S


def test_what_strangers_make_it_remember_is_bounded() -> None:
    throttle = Throttle(Clock())
    for number in range(30_000):
        throttle.failed(f"login{number}")
        throttle.succeeded("office", f"address{number}")
    assert len(throttle._guessed) <= 20_000 and len(throttle._homes["office"]) <= 16


@given(st.lists(st.floats(0, 400), max_size=200))
def test_it_never_rests_longer_than_the_longest(pauses: list[float]) -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for pause in pauses:
        clock.now += pause
        throttle.failed("office")
        assert throttle.seconds_left("office", STRANGER) <= LONGEST_REST_S
