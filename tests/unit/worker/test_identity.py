"""Any Telegram name makes headers that every parser reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Address
from teletrunk.v1 import call_pb2
from teletrunk_worker.call.identity import from_header, headers_of, plain
from teletrunk_worker.sip.uri import parse_name_addr

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
