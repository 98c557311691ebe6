"""Tiers, caller ids, logins, phones, sealed passwords."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from teletrunk.v1 import call_pb2
from teletrunk_manager.domain.callers import caller_id, caller_name
from teletrunk_manager.domain.logins import is_login, login_for
from teletrunk_manager.domain.phones import e164
from teletrunk_manager.domain.tiers import tiers
from teletrunk_manager.passwords import (
    Label,
    PasswordSeal,
    SealBroken,
    answer_label,
    make_password,
    pbx_label,
    trunk_label,
    webhook_label,
)


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


KEY = bytes(32)
LABELS = (trunk_label("1"), pbx_label("1"), webhook_label("1"), answer_label("1"), trunk_label("2"))


def sealed_before(secret: str, bound: str) -> bytes:
    """As the version before sealed: nonce and text, bound to the row and hardly to what it is."""
    return bytes(12) + AESGCM(KEY).encrypt(bytes(12), secret.encode(), bound.encode())


@pytest.mark.parametrize("label", LABELS)
def test_what_is_sealed_opens_as_nothing_else(label: Label) -> None:
    seal = PasswordSeal(KEY)
    sealed = seal.close("secret", label)
    assert b"secret" not in sealed and seal.open(sealed, label) == "secret"
    for other in LABELS:
        if other != label:
            with pytest.raises(SealBroken):
                seal.open(sealed, other)
    for where in (sealed[:-1], sealed[:20], b""):
        with pytest.raises(SealBroken):
            seal.open(where, label)
    with pytest.raises(SealBroken):
        PasswordSeal(bytes(31) + b"x").open(sealed, label)


def test_what_a_request_was_cannot_be_tried_without_the_key() -> None:
    """Its body may have a code, digits, a password of few letters: a copy of the database has its mark for a day."""
    seal, text = PasswordSeal(KEY), '{"code": "12345"}'
    mark = seal.mark(text, answer_label("a"))
    assert mark == PasswordSeal(KEY).mark(text, answer_label("a"))
    others = [
        hashlib.sha256(text.encode()).hexdigest(),
        seal.mark(text, answer_label("b")),
        seal.mark(text + " ", answer_label("a")),
        PasswordSeal(bytes(31) + b"x").mark(text, answer_label("a")),
    ]
    assert mark not in others


def test_what_the_version_before_has_sealed_opens_but_never_as_an_answer() -> None:
    """Answers are shown to who asks for them, by a key of their choice."""
    seal = PasswordSeal(KEY)
    assert seal.open(sealed_before("p", "1"), trunk_label("1")) == "p"
    assert seal.open(sealed_before("p", "1/pbx"), pbx_label("1")) == "p"
    assert seal.open(sealed_before("p", "1"), webhook_label("1")) == "p"
    for sealed, label in ((sealed_before("p", "1"), answer_label("1")), (sealed_before("p", ""), answer_label(""))):
        with pytest.raises(SealBroken):
            seal.open(sealed, label)


def test_passwords_can_be_read_aloud() -> None:
    password = make_password()
    assert make_password() != password
    assert not set(password) & set("lIoO01")
