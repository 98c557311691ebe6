"""Whole SIP messages as text, which mutations start from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

Peer = tuple[str, int]
_SDP = (
    "v=0\r\no=- 1 {version} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
)
_versions = itertools.count(1)
STRANGERS_METHODS = ("REGISTER", "INVITE", "OPTIONS", "BYE", "CANCEL", "ACK", "INFO", "UPDATE", "PRACK", "SUBSCRIBE")


def sdp(host: str, port: int) -> bytes:
    family = "IP6" if ":" in host else "IP4"
    return _SDP.format(host=host, family=family, port=port, version=next(_versions)).encode()


def written(host: str) -> str:
    """As it stands in a URI or a Via."""
    return f"[{host}]" if ":" in host else host


def request(
    method: str, uri: str, headers: Mapping[str, str], body: bytes = b"", content_type: str = "application/sdp"
) -> bytes:
    lines = {**headers, **({"Content-Type": content_type} if body else {}), "Content-Length": str(len(body))}
    return _message(f"{method} {uri} SIP/2.0", lines, body)


def response(status: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    lines = {**headers, **({"Content-Type": "application/sdp"} if body else {}), "Content-Length": str(len(body))}
    return _message(f"SIP/2.0 {status}", lines, body)


def _message(first: str, lines: Mapping[str, str], body: bytes) -> bytes:
    return (first + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n").encode() + body


def token(rng: random.Random) -> str:
    return f"{rng.getrandbits(64):016x}"


def stranger(rng: random.Random, peer: Peer, server: Peer, transport: str = "UDP") -> bytes:
    """A request, or now and then a response, of somebody whom the gateway does not know."""
    method, here, there = rng.choice(STRANGERS_METHODS), f"{written(peer[0])}:{peer[1]}", written(server[0])
    uri = f"sip:{rng.choice(['100', '+79990000002', 'a,b', ''])}@{there}:{server[1]}".replace(":@", ":")
    user = rng.choice(["100", "admin", "pbx"])
    headers = {
        "Via": f"SIP/2.0/{transport} {here};rport;branch=z9hG4bK{token(rng)}",
        "Max-Forwards": "70",
        "From": f'"{user}" <sip:{user}@{there}>;tag={token(rng)}',
        "To": f"<{uri}>" + (f";tag={token(rng)}" if method in ("BYE", "INFO", "UPDATE", "PRACK") else ""),
        "Call-ID": token(rng),
        "CSeq": f"{rng.randint(1, 9_999)} {method}",
        "Contact": f"<sip:{user}@{here}>",
        "User-Agent": "fuzz",
    }
    if rng.random() < 0.5:
        headers["Authorization"] = (
            f'Digest username="{user}", realm="teletrunk", nonce="{token(rng)}", uri="{uri}", algorithm=SHA-256, '
            f'qop=auth, nc=00000001, cnonce="{token(rng)}", response="{token(rng) * 4}"'
        )
    if method == "REGISTER":
        headers["Expires"] = "300"
    if rng.random() < 0.1:
        return response(rng.choice(["200 OK", "180 Ringing", "404 Not Found"]), headers, sdp(*peer))
    return request(method, uri, headers, sdp(*peer) if method in ("INVITE", "UPDATE") else b"")
