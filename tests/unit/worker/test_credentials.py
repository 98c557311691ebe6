"""Which digest answer of a request is read, and in which forms clients write it (RFC 7616 3.4)."""

from __future__ import annotations

import pytest
from teletrunk_worker.sip.auth import Credentials, credentials_of, is_for
from teletrunk_worker.sip.message import Request, parse

NONCE = "n" * 40
OURS = (
    f'Digest username="office", realm="teletrunk", nonce="{NONCE}", uri="sip:x@y", response="r", qop=auth, nc=00000001'
)
OTHERS = f'Digest username="far", realm="elsewhere", nonce="{NONCE}", uri="sip:x@y", response="r"'


def read(*rows: str) -> Credentials | None:
    head = (
        "INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:b@c>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
    )
    request = parse((head + "".join(f"{row}\r\n" for row in rows) + "\r\n").encode("latin-1"))
    assert isinstance(request, Request)
    given = credentials_of(request)
    assert given is None or is_for(given, request)
    return given


@pytest.mark.parametrize(
    "rows",
    [
        (f"Authorization: {OTHERS}", f"Authorization: {OURS}"),
        (f"Authorization: {OURS}", f"Authorization: {OTHERS}"),
        (f"Proxy-Authorization: {OTHERS}", f"Authorization: {OURS}"),
        (f"Authorization: {OTHERS}", f"Proxy-Authorization: {OURS}"),
        ("Authorization: Basic YTpi", f"Authorization: {OURS}"),
        ("Authorization: Digest a=", f"Authorization: {OURS}"),
    ],
)
def test_of_several_the_one_of_our_realm_is_read(rows: tuple[str, ...]) -> None:
    given = read(*rows)
    assert given is not None and (given.username, given.realm) == ("office", "teletrunk")


@pytest.mark.parametrize(
    "written",
    [
        OURS.replace("=", " = "),
        OURS.replace("username", "USERNAME").replace("realm", "Realm").replace("qop", "QOP"),
        OURS.replace("Digest", "DIGEST"),
        OURS.replace("Digest ", "Digest\t"),
        OURS.replace(", ", ","),
        OURS.replace(", ", " ,\t"),
        OURS.replace(", ", ",\r\n "),
        OURS.replace("qop=auth", 'qop="auth"').replace("nc=00000001", 'nc=00000001, opaque="a,b\\"c", x=y'),
    ],
)
def test_it_is_read_in_every_form_that_clients_write(written: str) -> None:
    given = read(f"Authorization: {written}")
    assert given is not None
    assert (given.username, given.nonce, given.qop, given.nc) == ("office", NONCE, "auth", "00000001")


@pytest.mark.parametrize(
    "written",
    [
        "Digest a=",
        "Digest , opaque=",
        "Basic YTpi",
        "Digest",
        "",
        OURS.replace("n" * 40, "n"),
        OURS.replace("office", ""),
        OURS.replace("username", "user@name"),
    ],
)
def test_what_answers_no_challenge_of_ours_counts_as_not_given(written: str) -> None:
    assert read(f"Authorization: {written}") is None
