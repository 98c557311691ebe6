"""Who is banned, when, and for how long, in simulated time."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.policy.bans import FAILURES, FIRST_BAN_S, LONGEST_BAN_S, WINDOW_S, Bans

STRANGER = "192.0.2.7"
LOGIN = "office"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def bans(*trusted: str) -> tuple[Bans, Clock]:
    clock = Clock()
    return Bans(tuple(ipaddress.ip_network(network) for network in trusted), clock), clock


def fail(some: Bans, times: int, address: str = STRANGER) -> list[bool]:
    return [some.failed(address, LOGIN) for _ in range(times)]


def test_the_fifth_failure_within_the_window_brings_a_ban_that_ends() -> None:
    some, clock = bans()
    assert fail(some, FAILURES) == [False] * (FAILURES - 1) + [True]
    assert some.seconds_left(STRANGER) == FIRST_BAN_S
    assert some.banned() == {STRANGER: FIRST_BAN_S}
    clock.now += FIRST_BAN_S
    assert some.seconds_left(STRANGER) == 0 and some.banned() == {}


def test_slow_failures_and_successes_bring_none() -> None:
    some, clock = bans()
    for _ in range(20):
        assert not some.failed(STRANGER, LOGIN)
        clock.now += WINDOW_S / (FAILURES - 1) + 1
    fail(some, FAILURES - 1)
    some.succeeded(STRANGER, LOGIN)
    assert not any(fail(some, FAILURES - 1))


def test_each_ban_is_twice_as_long_up_to_a_day() -> None:
    some, clock = bans()
    lengths = []
    for _ in range(10):
        fail(some, FAILURES)
        lengths.append(some.seconds_left(STRANGER))
        clock.now += lengths[-1]
    assert lengths[:3] == [FIRST_BAN_S, 2 * FIRST_BAN_S, 4 * FIRST_BAN_S]
    assert lengths[-1] == LONGEST_BAN_S


def test_trusted_networks_are_never_banned_and_a_lifted_ban_is_gone() -> None:
    some, _ = bans("192.0.2.0/24", "2001:db8::/32")
    assert not any(fail(some, 50)) and not any(fail(some, 50, "2001:db8::1"))
    fail(some, FAILURES, "198.51.100.1")
    assert some.lift("198.51.100.1") and not some.lift("198.51.100.1")
    assert some.seconds_left("198.51.100.1") == 0


def test_who_knows_one_password_has_no_right_to_guess_at_others() -> None:
    some, _ = bans()
    for number in range(FAILURES - 1):
        assert not some.failed(STRANGER, f"neighbour{number}")
        some.succeeded(STRANGER, "own")
    assert some.failed(STRANGER, "neighbour")
    assert some.was_tried(STRANGER, "neighbour0") and not some.was_tried(STRANGER, "own")


def test_a_ban_of_another_worker_spares_trusted_ipv6_networks() -> None:
    some, clock = bans("2001:db8:1:2::/64", "2001:db8:5::7")
    in_force = [(f"2001:db8:{net}::/64", clock.now + 60, 1) for net in ("1:2", "5", "6")]
    some.sync_from_manager(in_force)
    assert some.seconds_left("2001:db8:1:2::9") == 0 == some.seconds_left("2001:db8:5::7")
    assert some.seconds_left("2001:db8:5::8") == 60 == some.seconds_left("2001:db8:6::1")


def test_an_ipv6_customer_cannot_hop_within_its_own_network() -> None:
    some, _ = bans()
    for host in range(FAILURES):
        some.failed(f"2001:db8:1:2::{host + 1}", LOGIN)
    assert some.seconds_left("2001:db8:1:2:ffff::9") > 0
    assert some.seconds_left("2001:db8:1:3::1") == 0


@given(st.lists(st.tuples(st.sampled_from(["a", "192.0.2.1", "::1"]), st.booleans(), st.floats(0, 5000)), max_size=200))
def test_a_ban_needs_as_many_failures_as_it_says(events: list[tuple[str, bool, float]]) -> None:
    some, clock = bans()
    failures: dict[str, int] = {}
    for address, ok, pause in events:
        clock.now += pause
        if ok:
            some.succeeded(address, LOGIN)
            failures[address] = 0
        else:
            failures[address] = failures.get(address, 0) + 1
            if some.failed(address, LOGIN):
                assert failures[address] >= FAILURES
                failures[address] = 0
