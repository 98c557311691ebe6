"""Nonces: forgotten by age alone, and stale for all while there is no room."""

from __future__ import annotations

import re

import pytest
from teletrunk_worker.sip import auth
from teletrunk_worker.sip.auth import LIFETIME_S, Credentials, Freshness, Nonces


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def answered(nonces: Nonces, address: str = "192.0.2.1", nc: str = "00000001") -> Credentials:
    _, challenge = nonces.challenges(address)[0]
    found = re.search('nonce="([^"]+)"', challenge)
    assert found is not None
    return Credentials("a", auth.REALM, found[1], "sip:x", "auth", nc, "c", "r", "MD5", "INVITE")


def used(nonces: Nonces, credentials: Credentials, address: str, *, known: bool = False) -> Freshness:
    """What the answer is worth; a fresh one is used up."""
    freshness = nonces.check(credentials, address, known=known)
    if freshness is Freshness.FRESH:
        nonces.remember(credentials, address)
    return freshness


def test_no_number_of_other_answers_makes_a_captured_one_good_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_ANSWERED", 100)
    clock = Clock()
    nonces = Nonces(clock=clock)
    captured = answered(nonces)
    assert used(nonces, captured, "192.0.2.1") is Freshness.FRESH
    results = [used(nonces, answered(nonces, "192.0.2.7"), "192.0.2.7", known=True) for _ in range(1_000)]
    assert results.count(Freshness.FRESH) == 99 and results[-1] is Freshness.STALE
    assert used(nonces, captured, "192.0.2.1") is Freshness.STALE
    clock.now += LIFETIME_S + 1
    assert used(nonces, captured, "192.0.2.1") is Freshness.STALE
    assert used(nonces, answered(nonces), "192.0.2.1") is Freshness.FRESH
    assert len(nonces._answered) == 1


def test_strangers_leave_room_for_whom_we_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_ANSWERED", 100)
    monkeypatch.setattr(auth, "MOST_OF_STRANGERS", 50)
    nonces = Nonces(clock=Clock())
    strangers = [f"198.51.100.{number}" for number in range(200)]
    results = [used(nonces, answered(nonces, address), address) for address in strangers]
    assert results.count(Freshness.FRESH) == 50 and results[-1] is Freshness.STALE
    assert used(nonces, answered(nonces), "192.0.2.1", known=True) is Freshness.FRESH


def test_each_count_of_a_nonce_passes_once() -> None:
    nonces = Nonces(clock=Clock())
    first = answered(nonces)
    later = Credentials(**{**vars(first), "nc": "00000002"})
    assert [used(nonces, c, "192.0.2.1") for c in (first, later, first, later)] == [
        Freshness.FRESH, Freshness.FRESH, Freshness.STALE, Freshness.STALE,
    ]  # fmt: skip
    for nc in ("9" * 9, "x", "0x1", "1_0"):
        assert used(nonces, Credentials(**{**vars(first), "nc": nc}), "192.0.2.1") is Freshness.FOREIGN
