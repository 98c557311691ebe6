"""Which bindings a trunk allows, whichever way its two words come: the answer to a REGISTER, and the configuration."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_worker.sip.registrar import Binding
from teletrunk_worker.sip.transport.udp import UdpEndpoint
from teletrunk_worker.sip.uri import parse_name_addr
from teletrunk_worker.trunks.book import TrunkBook

OLD, NEW = 111, 222


def binding(revision: int, **fields: Any) -> Binding:
    flow = UdpEndpoint(lambda data, flow: None).flow((fields.pop("peer", "192.0.2.1"), 5060))
    contact = parse_name_addr("<sip:a@192.0.2.1>")
    made_at = fields.pop("made_at", time.monotonic())
    return Binding("b", "t", "l", contact, flow, time.monotonic() + 60, "c", 1, (), revision, made_at)


def told(book: TrunkBook, revision: int, *networks: str) -> None:
    book.put([pb.TrunkSettings(trunk_id="t", password_revision=revision, networks=networks)])


def allowed(book: TrunkBook, one: Binding) -> bool:
    return book.find("t").allows(one)


def test_an_old_password_is_old_in_whatever_order_it_comes() -> None:
    book = TrunkBook()
    told(book, OLD)
    before = binding(OLD)
    assert allowed(book, before)
    told(book, NEW)
    assert not allowed(book, before)
    assert not allowed(book, binding(OLD)), "the Manager's answer was under way when the password changed"


def test_a_password_that_the_book_has_not_heard_of_yet_is_a_newer_one() -> None:
    book = TrunkBook()
    told(book, OLD)
    fresh = binding(NEW)
    told(book, OLD)  # a configuration that was made before the change
    assert allowed(book, fresh)
    told(book, NEW)
    assert allowed(book, fresh)


def test_what_a_worker_before_us_has_made_is_held_against_the_first_word() -> None:
    book = TrunkBook()
    told(book, NEW)
    assert not allowed(book, binding(OLD, made_at=0.0)) and allowed(book, binding(NEW, made_at=0.0))


def test_a_manager_that_says_no_revisions_ends_nothing() -> None:
    for one, other in itertools.product((0, OLD), (0, NEW)):
        book = TrunkBook()
        told(book, one)
        if 0 in (one, other):
            assert allowed(book, binding(other))


@pytest.mark.parametrize(("network", "peer", "just"), [
    ("192.0.2.0/24", "192.0.2.1", True), ("198.51.100.0/24", "192.0.2.1", False),
    ("2001:db8::/32", "2001:db8::7", True), ("2001:db8::/32", "192.0.2.1", False),
])  # fmt: skip
def test_a_binding_comes_from_where_the_trunk_may_be_used(network: str, peer: str, just: bool) -> None:
    book = TrunkBook()
    told(book, OLD, network)
    assert allowed(book, binding(OLD, peer=peer)) == just
