"""Any Telegram name makes headers that every parser reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Address
from teletrunk.identifiers import ANONYMOUS
from teletrunk.names import plain
from teletrunk.v1 import call_pb2
from teletrunk_worker.call.identity import Caller, headers_of
from teletrunk_worker.sip.uri import parse_name_addr, parse_uri, with_user

NAMES = st.text(max_size=200) | st.sampled_from(
    ['"', "\\", "a\r\nX: y", "\u202eabc", "🙂" * 90, "", "אבג", "\0", "<sip:x@y>", "Ann <3", '" <', "a, b;c=d"]
)
ACCOUNT = "sip:gw@pbx.example"


@given(NAMES, NAMES)
def test_any_name_makes_headers_that_every_parser_reads(first: str, last: str) -> None:
    caller = Caller.of("79990000002", f"{first} {last}", ("2001:db8::1", 5060))
    [(_, asserted)] = caller.asserted()
    for written, user, host in (
        (caller.from_header(), "79990000002", "2001:db8::1"),
        (caller.from_header(ACCOUNT), "gw", "pbx.example"),
        (asserted, "79990000002", "2001:db8::1"),
    ):
        ours, others = parse_name_addr(written), Address.parse(written)
        assert ours.uri.user == others.uri.user == user and ours.uri.host == host
        assert ours.display == plain(f"{first} {last}") == (others.name or "")
    peer = call_pb2.Peer(user_id=7, first_name=first, last_name=last, username="u")
    headers = dict(headers_of(peer))
    assert headers["X-TG-ID"] == "7" and headers["X-TG-Username"] == "u" and "X-TG-Phone" not in headers
    for value in headers.values():
        assert value == value.strip() and value.isprintable() and len(value) <= 128


@given(st.text("+-_.!~*#@0a", min_size=1, max_size=30))
def test_any_caller_id_is_the_user_of_its_uri(number: str) -> None:
    written = Caller.of(number, "Bob", ("192.0.2.1", 5060)).from_header()
    assert parse_name_addr(written).uri.user == number
    assert Address.parse(written).uri.user == number, "so does another's parser"


def test_who_is_to_stay_unknown_is_named_nowhere() -> None:
    unknown = Caller.of(ANONYMOUS, "Bob", ("192.0.2.1", 5060))
    assert unknown.from_header() == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert unknown.from_header(ACCOUNT) == f'"Anonymous" <{ACCOUNT}>', "by which the PBX knows us"
    assert unknown.asserted() == (("Privacy", "id"),)


@given(
    st.sampled_from(["", "office@", "office;x=1:pw@"]),
    st.sampled_from(["192.0.2.1", "[2001:db8::1]:5062;transport=tcp", "pbx.example;line=x%40y"]),
    st.text("+-_.!~*#0a", min_size=1, max_size=30),
)
def test_a_number_at_a_contact_changes_its_user_alone(user: str, where: str, number: str) -> None:
    contact = parse_uri(f"sip:{user}{where}")
    there = parse_uri(with_user(contact, number))
    assert there.user == number
    assert there.text.endswith(f"@{where}") and there.text.count("@") == 1
    assert (there.host, there.port, there.parameters) == (contact.host, contact.port, contact.parameters)
