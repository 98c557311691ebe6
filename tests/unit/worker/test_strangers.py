"""Budgets of strangers in simulated time: what they add up to, whoever sends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.policy import strangers
from teletrunk_worker.policy.known_peers import LIFETIME_S, MOST_HOMES, MOST_IN_ALL, KnownPeers
from teletrunk_worker.policy.strangers import GAIN, Strangers
from teletrunk_worker.sip.transport.flow import network_of

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"])


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(ADDRESSES, st.floats(0, 1)), max_size=300))
def test_no_address_is_read_more_often_than_its_budget(events: list[tuple[str, float]]) -> None:
    clock = Clock()
    some = Strangers(KnownPeers(), clock)
    read: dict[str, int] = {}
    began = clock.now
    for address, pause in events:
        clock.now += pause
        if some.may_speak(address):
            network = network_of(address)
            read[network] = read.get(network, 0) + 1
    most = strangers.MESSAGES_AT_ONCE + (clock.now - began) * strangers.MESSAGES_A_SECOND
    assert all(count <= most for count in read.values())


def test_all_strangers_together_have_a_budget_and_known_peers_one_of_their_own() -> None:
    clock, known = Clock(), KnownPeers()
    known.note("office", "198.51.100.1")
    some = Strangers(known, clock)
    read = sum(some.may_speak(f"10.{a}.{b}.1") for a in range(40) for b in range(250))
    assert read == strangers.ALL_MESSAGES_A_SECOND
    assert all(some.may_speak("198.51.100.1") for _ in range(1_900))
    assert some.may_speak("192.0.2.9", "TCP"), "who cannot be spoofed is not kept out by what may be"
    clock.now += 0.5
    again = sum(some.may_speak(f"10.{a}.{b}.2") for a in range(40) for b in range(250))
    assert again == strangers.ALL_MESSAGES_A_SECOND / 2


@given(st.lists(st.tuples(ADDRESSES, st.integers(20, 1_500), st.integers(20, 3_000), st.floats(0, 5)), max_size=200))
def test_an_address_hears_little_more_than_twice_what_it_says(events: list[tuple[str, int, int, float]]) -> None:
    clock = Clock()
    some = Strangers(KnownPeers(), clock)
    began = clock.now
    said: dict[str, int] = {}
    heard: dict[str, int] = {}
    for address, asked, answer, pause in events:
        clock.now += pause
        network = network_of(address)
        said[network] = said.get(network, 0) + asked
        if some.may_hear(address, asked, answer):
            heard[network] = heard.get(network, 0) + answer
    minutes = 1 + (clock.now - began) // 60
    assert all(count <= GAIN * said[network] + 1_500 * minutes for network, count in heard.items())


def test_what_strangers_make_it_remember_is_bounded() -> None:
    some = Strangers(KnownPeers(), Clock())
    for number in range(30_000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        some.may_speak(address), some.may_log(address), some.may_hear(address, 100, 1_000)
    kept = (some._messages["UDP"]._of, some._lines._of, some._insisting._of, some._free_answers)
    assert max(len(each) for each in kept) <= 20_000


@given(st.lists(st.tuples(st.sampled_from("abc"), ADDRESSES), max_size=100))
def test_known_are_exactly_the_latest_homes(events: list[tuple[str, str]]) -> None:
    known = KnownPeers()
    homes: dict[str, list[str]] = {}
    for login, address in events:
        known.note(login, address)
        mine = homes.setdefault(login, [])
        homes[login] = [*(home for home in mine if home != address), address][-MOST_HOMES:]
    everywhere = {network_of(home) for mine in homes.values() for home in mine}
    for _, address in events:
        assert known.knows(address) == (network_of(address) in everywhere)
        for login in "abc":
            assert known.is_home(login, address) == (address in homes.get(login, []))


def test_who_has_shown_no_password_for_long_is_a_stranger_again() -> None:
    clock = Clock()
    known = KnownPeers(clock=clock)
    known.note("office", "192.0.2.1")
    known.note("branch", "192.0.2.2")
    known.note_algorithm("192.0.2.1", "MD5")
    clock.now += LIFETIME_S - 1
    known.note("office", "192.0.2.1")
    assert known.knows("192.0.2.2") and known.answers_md5("192.0.2.1")
    clock.now += 2
    assert not known.is_home("branch", "192.0.2.2") and not known.knows("192.0.2.2")
    assert known.is_home("office", "192.0.2.1") and known.knows("192.0.2.1")
    assert not known.answers_md5("192.0.2.1")


def test_what_is_known_is_bounded_however_many_passwords_there_are() -> None:
    known = KnownPeers()
    for number in range(MOST_IN_ALL + 100):
        known.note(f"login{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(known._shown_at) == len(known._homes) == len(known._networks) == MOST_IN_ALL
    assert not known.is_home("login0", "10.0.0.0") and known.knows("10.0.1.0")
