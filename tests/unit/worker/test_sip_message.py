"""SIP's message layer: what stays as it was written, what is read how, and what it costs."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from teletrunk_worker.sip import body as bodies
from teletrunk_worker.sip import proxy, sdp, uas
from teletrunk_worker.sip.auth import credentials_of
from teletrunk_worker.sip.message import Request, Response, parse
from teletrunk_worker.sip.scanner import Malformed, parameters, split
from teletrunk_worker.sip.uri import escaped, parse_name_addr, parse_uri
from teletrunk_worker.sip.via import parse_via

MOST_MS = 20.0
HEADERS = {
    "Via": "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport",
    "From": "<sip:a@b>;tag=1",
    "To": "<sip:b@c>",
    "Call-ID": "1@x",
    "CSeq": "1 INVITE",
    "Contact": "<sip:a@192.0.2.1>",
}
READ = [*HEADERS, "Route", "Record-Route", "Authorization", "Expires", "Max-Forwards", "User-Agent", "X-Other"]


def message(target: str = "sip:x@y", body: bytes = b"", **headers: str) -> bytes:
    lines = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = f"INVITE {target} SIP/2.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode("utf-8", "surrogatepass") + b"\r\n" + body


def all_that_the_edge_does(data: bytes) -> None:
    """Everything that may be done with a request before anybody has shown a password, and after."""
    try:
        parsed = parse(data)
        assert isinstance(parsed, Request)
        uas.check(parsed)
    except Malformed:
        return
    bodies.unwrap(parsed)
    proxy.note_source(parsed, "198.51.100.7", 5060)
    credentials_of(parsed)
    proxy.derived_branch(parsed)
    uas.respond(parsed, 401, "Unauthorized")
    proxy.drop_own_routes(parsed, [("127.0.0.1", 5060)])
    sdp.objection(parsed.body)
    bytes(parsed.copy())


def cost_ms(data: bytes) -> float:
    began = time.thread_time()
    all_that_the_edge_does(data)
    return (time.thread_time() - began) * 1000


@pytest.mark.parametrize(
    "data",
    [
        message(From="<tel:+" + "1" * 8_000 + "!>;tag=1"),
        message(From="<tel:+" + "1" * 20_000 + "!>;tag=1"),
        message(From="<tel:+" + "1" * 1_000 + "!>;tag=1"),
        message("tel:+" + "1" * 60_000 + "!"),
        message(To='"x" <sip:a@b>;p=' + '"<"' * 20_000),
        message(To='"x" <sip:a@b>;p=' + '"<"' * 1_300),
        message(To="<sip:a@b>" + ";a=b" * 2_000),
        message(To="<sip:a@" + "a-" * 500 + ">"),
        message(To='"' * 8_000),
        message(To='"' + "\\" * 8_000),
        message(Via=",".join(["SIP/2.0/UDP a;branch=z9hG4bKx"] * 2_600)),
        message(Contact="<sip:a@b>," * 5_000),
        message(Route=",".join(["<sip:a;lr>"] * 800)),
        message(Authorization="Digest " + 'a="x",' * 10_000 + "@"),
        message(Authorization="Digest " + "=" * 60_000),
        message(User_Agent="baresip v" + "9" * 5_000 + ".1"),
        message(Max_Forwards="9" * 5_000),
        message(body=b"c=IN IP4 " + b"1." * 30_000),
        message(body=b"c=\r" * 20_000),
        message(body=b"", **{f"X-{n}": "y" for n in range(180)}),
    ],
    ids=range(20),
)
def test_nothing_that_a_stranger_writes_costs_time(data: bytes) -> None:
    assert min(cost_ms(data) for _ in range(3)) < MOST_MS


TRAPS = st.lists(
    st.tuples(st.sampled_from(["<", ">", '"', ";", "=", ",", "\\", "(", ")", "%", "@", ":", "a", "1", " ", "sip:a@b"]),
              st.integers(1, 400)), max_size=30,
).map(lambda runs: "".join(text * count for text, count in runs)[:8_000])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(READ), TRAPS)
@example("From", "<tel:+" + "1" * 7_990)
def test_no_mixture_costs_time_and_only_malformed_is_raised(name: str, value: str) -> None:
    data = message(body=b"", **{name.replace("-", "_"): value})
    assert cost_ms(data) < MOST_MS or min(cost_ms(data) for _ in range(3)) < MOST_MS


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_anywhere_are_borne(junk: bytes, place: int) -> None:
    data = message(body=b"c=IN IP4 192.0.2.1\r\n")
    all_that_the_edge_does(data[:place] + junk + data[place:])
    all_that_the_edge_does(data[:place] + junk + data[place + len(junk) :])


NAMES = st.from_regex(r"X-[A-Za-z]{1,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Zs", "Zl", "Zp", "Cs"]), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=10), st.binary(max_size=50))
def test_what_is_only_passed_on_is_passed_on_as_it_came(headers: list[tuple[str, str]], body: bytes) -> None:
    lines = [f"{name}: {value.strip()}" for name, value in headers]
    data = "\r\n".join(["SIP/2.0 200 OK", *lines]).encode() + b"\r\n\r\n" + body
    assert bytes(parse(data)) == data


def test_bytes_that_are_no_utf8_are_passed_on_as_they_came() -> None:
    data = message(Subject="x").replace(b"Subject: x", b"Subject: J\xfcrgen")
    assert bytes(parse(data)) == data


def test_compact_and_folded_headers_and_any_case() -> None:
    data = (
        b"SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nF: <sip:a@b>\r\n ;tag=1\r\n"
        b"t : x <sip:c@d>;TAG=2\r\ni: 7\r\ncseq: 3  INVITE\r\nm: <sip:e@f>, sip:g@h;q=0.5\r\nl: 0\r\n\r\n"
    )
    parsed = parse(data)
    assert isinstance(parsed, Response)
    assert (parsed.from_.tag, parsed.to.tag, parsed.to.display, parsed.cseq.sequence) == ("1", "2", "x", 3)
    assert [contact.uri.user for contact in parsed.contacts] == ["e", "g"]
    assert parsed.contacts[1].parameters == {"q": "0.5"} and parsed.number("Content-Length") == 0


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:%40friend@gw.example:5070;transport=tcp?x=y", "@friend", "gw.example", 5070),
        ("sip:@friend@gw", "@friend", "gw", None),
        ("SIP:tg#friend@gw", "tg#friend", "gw", None),
        ("sip:+1555;npdi;rn=+1666@gw", "+1555;npdi;rn=+1666", "gw", None),
        ("sip:a:secret@gw", "a", "gw", None),
        ("sip:[2001:db8::1]:5060", "", "2001:db8::1", 5060),
        ("sips:a@my_proxy;lr", "a", "my_proxy", None),
        ("tel:+1-555;phone-context=x", "+1-555", "", None),
    ],
)
def test_uris(text: str, user: str, host: str, port: int | None) -> None:
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port, str(uri)) == (user, host, port, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "sip:a@",
        "sip:a b@c",
        "sip:a@b:99999",
        "<sip:a@b>",
        "sip:a@[x",
        "sip:a@b c",
        "sip:@b",
        "sip:a@b:",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(Malformed):
        parse_uri(text)


def test_addresses_with_all_that_quotes_may_hold() -> None:
    address = parse_name_addr(r'"a \"b\" <sip:x@y>, ;" <sip:c@d;lr>;tag="q;r" ; self ;Expires=7')
    assert address.display == 'a "b" <sip:x@y>, ;' and address.uri.text == "sip:c@d;lr"
    assert address.parameters == {"tag": "q;r", "self": None, "expires": "7"}


def test_a_user_with_a_question_mark_needs_no_brackets() -> None:
    assert parse_name_addr("sip:??@gw;tag=1").uri.user == "??"
    with pytest.raises(Malformed):
        parse_name_addr("sip:a@gw?Route=x")


@pytest.mark.parametrize("text", ['"x <sip:a@b>', "<sip:a@b", "<sip:a@b> x", '<sip:a@b>;p="', "x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Malformed):
        parse_name_addr(text)


def test_lists_and_parameters() -> None:
    assert split('a, "b, c" ,<d,e>', ",") == ["a", '"b, c"', "<d,e>"]
    assert parameters('; a = 1;B;c="x\\"y";;a=2') == {"a": "1", "b": None, "c": 'x"y'}
    assert split('uri="<,", x=<', ",", brackets=False) == ['uri="<,"', "x=<"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_no_list_is_cut_further_than_anybody_reads(separator: str) -> None:
    """Thousands of empty entries cost a dozen milliseconds, in each header that is a list."""
    assert len(split(separator * 255, separator)) == 256
    with pytest.raises(Malformed):
        split(separator * 256, separator)


def test_where_a_request_came_from_is_all_that_changes_in_its_via() -> None:
    text = 'SIP / 2.0 / UDP pbx_1:5060 ;branch=z9hG4bK+x*1! ;rport;received=1.1.1.1;X="a;b"'
    assert parse_via(text).seen_from("192.0.2.9", 777) == (
        'SIP / 2.0 / UDP pbx_1:5060;branch=z9hG4bK+x*1!;X="a;b";rport=777;received=192.0.2.9'
    )
    same = "SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK%2B"
    assert parse_via(same).seen_from("192.0.2.9", 777) == same


def test_a_phrase_is_text_whatever_bytes_it_had() -> None:
    """It goes into logs, records and states, which take no bytes."""
    broken = b"SIP/2.0 403 Verboten \xe9 \xc3\r\n" + message().partition(b"\r\n")[2]
    answer = parse(broken)
    assert isinstance(answer, Response) and answer.phrase == "Verboten \ufffd \ufffd"
    whole = parse("SIP/2.0 403 Verboten caf\xe9\r\n".encode() + message().partition(b"\r\n")[2])
    assert isinstance(whole, Response) and whole.phrase == "Verboten caf\xe9"


def test_a_user_of_any_bytes_can_be_escaped() -> None:
    uri = parse_uri(b"sip:\xe9%e9@b".decode("utf-8", "surrogateescape"))
    assert escaped(uri.user) == "%E9%EF%BF%BD"
