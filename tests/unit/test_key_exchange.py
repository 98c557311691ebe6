"""The Diffie-Hellman of a call: what both ends agree on, what is refused, and what it costs a Storage."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest
from pyrogram.crypto.prime import CURRENT_DH_PRIME
from teletrunk_session_store.telegram.exchange import Exchange, ExchangeFailed

PRIME = CURRENT_DH_PRIME.to_bytes(256, "big")


def test_both_ends_have_one_key() -> None:
    ours, theirs = Exchange(3, PRIME), Exchange(3, PRIME)
    assert ours.agree(theirs.public) == theirs.agree(ours.public, committed=ours.public_hash)
    assert len(ours.agree(theirs.public).key) == 256


@pytest.mark.parametrize("half", [0, 1, 2**1984, CURRENT_DH_PRIME - 1, CURRENT_DH_PRIME, 2**2048 - 1])
def test_a_half_that_gives_the_key_away_is_refused(half: int) -> None:
    with pytest.raises(ExchangeFailed, match="out of range"):
        Exchange(3, PRIME).agree(half.to_bytes(256, "big"))


def test_a_half_that_was_not_promised_is_refused() -> None:
    with pytest.raises(ExchangeFailed, match="does not match its hash"):
        Exchange(3, PRIME).agree(Exchange(3, PRIME).public, committed=bytes(32))


@pytest.mark.parametrize(("g", "p"), [(2, PRIME), (3, PRIME[:-1] + b"\0"), (3, b"")])
def test_parameters_that_nobody_knows_are_refused(g: int, p: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="unknown"):
        Exchange(g, p)


def least_s(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return min(once() for _ in range(5))


def test_a_power_takes_a_fraction_of_what_pythons_own_takes() -> None:
    """Which keeps every other account of the Storage waiting, whatever thread it runs in."""
    base, secret, other = (secrets.randbits(2048) for _ in range(3))
    ours, theirs = Exchange(3, PRIME), Exchange(3, PRIME).public
    assert least_s(lambda: ours.agree(theirs)) * 3 < least_s(lambda: pow(base % other, secret, CURRENT_DH_PRIME))
