"""When a login rests, and who is heard meanwhile, in simulated time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.policy.known_peers import KnownPeers
from teletrunk_worker.policy.login_lockout import FAILURES, FIRST_REST_S, LONGEST_REST_S, WINDOW_S, LoginLockout

HOME, STRANGER = "192.0.2.1", "192.0.2.7"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def guessed(lockout: LoginLockout, times: int, login: str = "office") -> None:
    for _ in range(times):
        lockout.failed(login)


def test_it_rests_longer_each_time_and_other_logins_do_not() -> None:
    known, clock = KnownPeers(), Clock()
    lockout = LoginLockout(known, clock)
    known.note("office", HOME)
    guessed(lockout, FAILURES - 1)
    assert lockout.seconds_left("office", STRANGER) == 0
    for expected in (FIRST_REST_S, 2 * FIRST_REST_S):
        guessed(lockout, FAILURES)
        assert lockout.seconds_left("office", STRANGER) == expected
        assert lockout.seconds_left("office", HOME) == 0 == lockout.seconds_left("other", STRANGER)
        clock.now += expected
        assert lockout.seconds_left("office", STRANGER) == 0
    clock.now += WINDOW_S + 1
    guessed(lockout, FAILURES)
    assert lockout.seconds_left("office", STRANGER) == FIRST_REST_S


def test_what_strangers_make_it_remember_is_bounded() -> None:
    known = KnownPeers()
    lockout = LoginLockout(known, Clock())
    for number in range(30_000):
        lockout.failed(f"login{number}")
        known.note("office", f"address{number}")
    assert len(lockout._guessed) <= 20_000 and len(known._homes["office"]) <= 16


@given(st.lists(st.floats(0, 400), max_size=200))
def test_it_never_rests_longer_than_the_longest(pauses: list[float]) -> None:
    known, clock = KnownPeers(), Clock()
    lockout = LoginLockout(known, clock)
    for pause in pauses:
        clock.now += pause
        lockout.failed("office")
        assert lockout.seconds_left("office", STRANGER) <= LONGEST_REST_S
