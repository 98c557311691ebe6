"""Tiers, caller ids, logins, phones, sealed passwords."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teletrunk.v1 import call_pb2
from teletrunk_manager.domain.callers import caller_id, caller_name
from teletrunk_manager.domain.logins import is_login, login_for
from teletrunk_manager.domain.phones import e164
from teletrunk_manager.domain.tiers import tiers
from teletrunk_manager.passwords import PasswordSeal, SealBroken, make_password


@dataclass(frozen=True)
class Ranked:
    login: str
    priority: int


@given(st.lists(st.builds(Ranked, st.text(max_size=3), st.integers(0, 4))))
def test_tiers_hold_every_trunk_once_and_rise(trunks: list[Ranked]) -> None:
    order = tiers(trunks)
    assert sorted(t.login for tier in order for t in tier) == sorted(t.login for t in trunks)
    assert all(len({t.priority for t in tier}) == 1 for tier in order)
    priorities = [tier[0].priority for tier in order]
    assert priorities == sorted(set(priorities))


@pytest.mark.parametrize(
    ("peer", "number", "name"),
    [
        (call_pb2.Peer(user_id=5, phone="4917", username="bob", first_name="Bob", last_name="Ray"), "+4917", "Bob Ray"),
        (call_pb2.Peer(user_id=5, phone="+4917"), "+4917", "+4917"),
        (call_pb2.Peer(user_id=5, username="bob", first_name="Bob"), "bob", "Bob"),
        (call_pb2.Peer(user_id=5, last_name="Ray"), "05", "Ray"),
        (call_pb2.Peer(user_id=5), "05", "05"),
    ],
)
def test_callers_look_as_a_pbx_wants_them(peer: call_pb2.Peer, number: str, name: str) -> None:
    assert (caller_id(peer), caller_name(peer)) == (number, name)


def test_logins_are_made_from_the_account_and_are_free() -> None:
    assert login_for("Ann_Lee", "+49171", set()) == "ann_lee"
    assert login_for("", "+49171", set()) == "49171"
    assert login_for("", "", set()) == "trunk"
    assert login_for("ann", "", {"ann", "ann-2"}) == "ann-3"


@given(st.text(max_size=40), st.sets(st.sampled_from(["ann", "ann-2", "ann-3", "trunk"])))
def test_a_made_login_can_be_registered_with(username: str, taken: set[str]) -> None:
    login = login_for(username, "+49171", taken)
    assert login not in taken
    assert is_login(login) or login.startswith("_")


@pytest.mark.parametrize("text", ["", "a b", 'a"', "a@b", "a:b", "-a", "ä", "a" * 65, "a\n"])
def test_what_a_pbx_cannot_register_with_is_no_login(text: str) -> None:
    assert not is_login(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+49 171 1234567", "+491711234567"),
        ("+7 (999) 000-00-01", "+79990000001"),
        ("+888 0123 4567", "+88801234567"),
        ("+9996612345", "+9996612345"),
        ("0171 1234567", None),
        ("88801234567", None),
        ("+1", None),
        ("nobody", None),
        ("", None),
    ],
)
def test_phones_are_read_as_people_write_them(text: str, number: str | None) -> None:
    assert e164(text) == number


def test_a_sealed_password_opens_for_its_own_trunk_only() -> None:
    seal, password = PasswordSeal(bytes(32)), make_password()
    sealed = seal.close(password, "trunk-1")
    assert password.encode() not in sealed
    assert seal.open(sealed, "trunk-1") == password
    with pytest.raises(SealBroken):
        seal.open(sealed, "trunk-2")
    with pytest.raises(SealBroken):
        PasswordSeal(bytes(31) + b"x").open(sealed, "trunk-1")
    with pytest.raises(SealBroken):
        seal.open(sealed[:-1], "trunk-1")
    assert make_password() != password
    assert not set(password) & set("lIoO01")
