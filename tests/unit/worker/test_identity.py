"""Any Telegram name makes headers that every parser reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Address
from teletrunk.v1 import call_pb2
from teletrunk_worker.call.identity import from_header, headers_of, plain
from teletrunk_worker.sip.uri import parse_name_addr, parse_uri, with_user

NAMES = st.text(max_size=200) | st.sampled_from(
    ['"', "\\", "a\r\nX: y", "\u202eabc", "🙂" * 90, "", "אבג", "\0", "<sip:x@y>"]
)


@given(NAMES, NAMES)
def test_any_name_makes_headers_that_every_parser_reads(first: str, last: str) -> None:
    written = from_header("79990000002", f"{first} {last}", ("2001:db8::1", 5060))
    ours, others = parse_name_addr(written), Address.parse(written)
    assert ours.uri.user == others.uri.user == "79990000002" and ours.uri.host == "2001:db8::1"
    assert ours.display == plain(f"{first} {last}") == (others.name or "")
    peer = call_pb2.Peer(user_id=7, first_name=first, last_name=last, username="u")
    headers = dict(headers_of(peer))
    assert headers["X-TG-ID"] == "7" and headers["X-TG-Username"] == "u" and "X-TG-Phone" not in headers
    for value in headers.values():
        assert value == value.strip() and value.isprintable() and len(value) <= 128


@given(st.text("+-_.!~*#@0a", min_size=1, max_size=30))
def test_any_caller_id_is_the_user_of_its_uri(number: str) -> None:
    written = from_header(number, "Bob", ("192.0.2.1", 5060))
    assert parse_name_addr(written).uri.user == number
    assert Address.parse(written).uri.user == number, "so does another's parser"


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
