"""What is wrong with answers: status lines, the headers that only answers have, bodies, and which request they name."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz import sdp
from tests.fuzz.mutations import Message, Mutated, Mutator

_PHRASES = (
    b"", b" ", b"OK", b"\xe9", b"Besetzt \xfc", b"caf\xc3\xa9", b"\xc3", b"\xff" * 120, b"x" * 99 + b"\xc3\xa9",
    b"\xed\xa0\x80", b"\xf0\x9f\x98\x80" * 40, b"\x00", b"a\x00b", b"\x01\x02\x1b[31m", b"\x7f", b"\xe2\x80\xae",
    b"\xe2\x80\xa8", b'"', b"'\\", b'\\"' * 60, b"%s%n%x", b"%0d%0aVia: x", b"<sip:a@b>", b";tag=1", b"{0}{a}", b"\t",
    b"200 OK", b"SIP/2.0 200 OK", b"x" * 3_000, b" " * 500, b"\xef\xbb\xbf", b"\xc2\x85", b"a\rb", b"a\nb",
)  # fmt: skip
_CODES = (
    100, 101, 180, 181, 182, 183, 189, 199, 200, 201, 202, 204, 299, 300, 301, 302, 305, 380, 399, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 410, 412, 413, 415, 416, 417, 420, 421, 422, 423, 424, 428, 429, 430, 433, 436, 438, 439,
    440, 469, 470, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494, 499, 500, 501, 502, 503, 504, 505,
    513, 555, 580, 599, 600, 603, 604, 606, 607, 608, 699,
)  # fmt: skip
_NO_CODES = (b"000", b"099", b"700", b"999", b"20", b"2000", b"-20", b"2 0", b"\xd9\xa2\xd9\xa0\xd9\xa0", b"abc", b"")
_VERSIONS = (b"SIP/2.0",) * 12 + (b"SIP/3.0", b"sip/2.0", b"SIP/2.0 ", b"HTTP/1.1")

_ROWS = (
    b"Contact: <sip:a@127.0.0.1:9>", b"Contact: sip:a@127.0.0.1:9;x=\"", b"Contact: *", b"Contact: <tel:+1>",
    b"Contact: <sips:a@127.0.0.1:9>", b"Contact: <sip:127.0.0.1:9;transport=carrier>", b"Contact: junk", b"Contact: ",
    b"Contact: <sip:a@[::1]:9>", b"Contact: <sip:a@nobody.invalid>", b"Contact: <sip:a@127.0.0.1:9;maddr=224.0.0.1>",
    b"Contact: \"\xe9\" <sip:a@127.0.0.1:9>;expires=abc", b"Contact: <sip:\xe9@127.0.0.1:9>", b"Contact: <sip:a@b?c=d>",
    b"Contact: <sip:a@127.0.0.1:9;method=BYE;ttl=999;lr=\"x\">", b"Contact: <sip:%00@127.0.0.1:9>",
    b"Contact: <sip:a@127.0.0.1:0>", b"Contact: <sip:a@127.0.0.1;transport=tls>",
    b"Contact: <sip:" + b"a" * 900 + b"@b>",
    b"Contact: \"a <sip:a@b>", b"Contact: <http://a/>", b"Contact: <sip:a@b>;q=abc, <sip:c@d>;q=9",
    b"Record-Route: <sip:127.0.0.1:9;lr>", b"Record-Route: <sip:127.0.0.1:9>", b"Record-Route: <tel:+1>",
    b"Record-Route: <sip:\xe9;lr>", b"Record-Route: \"", b"Record-Route: <sip:a;lr>, junk", b"Record-Route: ,,,",
    b"Record-Route: <sip:a@b;lr>" + b",<sip:a;lr>" * 35, b"Record-Route: <sip:127.0.0.1:9;lr;transport=tcp>",
    b"Record-Route: <sip:127.0.0.1:9;lr=on;ftag=\"x\">;a=\"b", b"Route: <sip:127.0.0.1:9;lr>",
    b"Require: 100rel", b"Require: 100rel\r\nRSeq: 1", b"Require: 100rel\r\nRSeq: 0", b"Require: timer",
    b"Require: 100rel\r\nRSeq: 4294967295", b"Require: 100rel\r\nRSeq: abc", b"Require: nothing-known", b"Require: ",
    b"Require: timer, 100rel\r\nRSeq: 7", b"Require: \xe9", b"Require: " + b"x," * 100, b"RSeq: 1 2",
    b"RAck: 1 1 INVITE",
    b"Session-Expires: 90;refresher=uac", b"Session-Expires: 1;refresher=uac", b"Session-Expires: 0;refresher=uas",
    b"Session-Expires: 90;refresher=uas", b"Session-Expires: 90;refresher=both", b"Session-Expires: 90;refresher",
    b"Session-Expires: 4294967295;refresher=uac", b"Session-Expires: 90;refresher=\"uac",
    b"Session-Expires: 2147483648",
    b"Session-Expires: ", b"Session-Expires: 90;refresher=uac\r\nRequire: timer", b"Min-SE: 4294967296", b"Min-SE: 1",
    b"Min-SE: 100000", b"Min-SE: 91;a=\"", b"Reason: SIP;cause=200", b"Reason: SIP;cause=abc;text=\"", b"Reason: \xe9",
    b"Reason: Q.850;cause=99999999999", b"Reason: " + b"x" * 2_000, b"Reason: ;;;", b"Reason: SIP;text=\"\\\"",
    b"Retry-After: 1", b"Retry-After: -1", b"Retry-After: 9999999999", b"Retry-After: \xc2\xb2",
    b"Retry-After: 5 (\xe9",
    b"Warning: 399 a \"b\"", b"Warning: 399", b"Warning: 399 a \"\xe9\"", b"Warning: " + b"399 a \"b\"," * 60,
    b"Warning: \"",
    b"Allow: ", b"Allow: INVITE, , ,", b"Allow: \xe9", b"Allow: invite", b"Allow: " + b"A," * 300, b"Supported: \"",
    b"Supported: 100rel, timer, replaces, gruu, outbound", b"Supported: \xe9", b"Unsupported: timer",
    b"Unsupported: \xff",
    b"Accept: ,,,", b"Accept: application/sdp;q=abc", b"Min-Expires: abc", b"Min-Expires: 99999999999", b"Expires: abc",
    b"WWW-Authenticate: Digest realm=\"\xe9\", nonce=\"n\"", b"WWW-Authenticate: Digest", b"WWW-Authenticate: NTLM",
    b"WWW-Authenticate: Digest realm=\"a\", nonce=\"",
    b"WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"\xe9\"",
    b"WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", algorithm=MD5-sess", b"WWW-Authenticate: Digest =,=,=",
    b"WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", algorithm=md5, qop=\"auth\", stale=TRUE, opaque=\"\\\"\"",
    b"WWW-Authenticate: Digest realm=\"" + b"r" * 2_000 + b"\", nonce=\"" + b"n" * 2_000 + b"\"",
    b"Proxy-Authenticate: Digest realm=\"p\", nonce=\"n\", algorithm=SHA-256, qop=\"auth,auth-int\"",
    b"Proxy-Authenticate: Digest realm=p, nonce=n, qop=auth-int", b"Proxy-Authenticate: Digest a=",
    b"Authentication-Info: nextnonce=\"", b"To: <sip:a@b>;tag=other", b"From: <sip:a@b>", b"Call-ID: other",
    b"CSeq: 1 BYE",
    b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKa", b"Via: SIP/2.0/UDP 127.0.0.1:9;received=\xe9", b"Via: junk",
    b"Via: SIP/2.0/UDP 127.0.0.1:9;rport=abc;ttl=999;maddr=a", b"Server: \xff\x00", b"User-Agent: \xe9", b"Date: abc",
    b"Event: refer;id=abc", b"Subscription-State: terminated", b"Refer-Sub: abc", b"Referred-By: \xe9", b"P-A: \x00",
    b"Content-Encoding: gzip", b"Content-Disposition: session;handling=required", b"MIME-Version: 9.9",
    b"Path: <tel:+1>",
    b"Service-Route: junk", b"Flow-Timer: abc", b"Replaces: a;to-tag=b;from-tag=c", b"X-Teletrunk-Call: a/b",
)  # fmt: skip
_BODIES = (
    (b"message/sipfrag", b"SIP/2.0 200 OK\r\n"), (b"message/sipfrag;version=2.0", b"SIP/2.0 699 \xe9\r\n"),
    (b"message/sipfrag", b"\xff" * 50), (b"text/plain", b"\xe9"), (b"application/sdp", b""), (b"application/sdp",
    b"\r\n"),
    (b"application/sdp", b"v=0"), (b"application/sdp", b"\x00" * 20), (b"application/SDP ; charset=\"", b"v=0\r\n"),
    (b"multipart/mixed;boundary=x", b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--\r\n"),
    (b"multipart/mixed", b"--x\r\n\r\n--x--"), (b"multipart/mixed;boundary=\"", b"--\r\n"), (b"", b"v=0\r\n"),
    (b"\xe9/\xe9", b"x"), (b"application/sdp, text/plain", b"v=0\r\n"), (b"message/sip", b"SIP/2.0 200 OK\r\n\r\n"),
)  # fmt: skip
_TAGS = (b";tag=", b";tag", b";tag=\xe9", b";tag=" + b"t" * 300, b";tag=a;tag=b", b';tag="a"', b";tag=a b", b"")
Change = Callable[[random.Random, Message], None]


def status_line(rng: random.Random, message: Message) -> None:
    code = b"%d" % rng.choice(_CODES) if rng.random() < 0.9 else rng.choice(_NO_CODES)
    message.first = b" ".join([rng.choice(_VERSIONS), code, *([rng.choice(_PHRASES)] if rng.random() < 0.95 else [])])


def phrase(rng: random.Random, message: Message) -> None:
    """The same code: what the answer does stays, and what it says is another thing."""
    junk = bytes(rng.randrange(256) for _ in range(rng.choice([1, 5, 60, 99, 100, 101, 400])))
    said = rng.choice([*_PHRASES, junk.replace(b"\r", b"").replace(b"\n", b"")])
    message.first = message.first[:11] + b" " + said


def more_rows(rng: random.Random, message: Message) -> None:
    for _ in range(rng.choice([1, 1, 2, 4])):
        message.lines.insert(rng.randint(0, len(message.lines)), rng.choice(_ROWS))


def other_rows(rng: random.Random, message: Message) -> None:
    """In place of those of the same name."""
    for row in rng.sample(_ROWS, rng.choice([1, 1, 2, 3])):
        name = row.partition(b":")[0].lower()
        message.lines = [line for line in message.lines if line.partition(b":")[0].lower() != name] + [row]


def other_body(rng: random.Random, message: Message) -> None:
    kind, body = rng.choice(_BODIES)
    if message.body and rng.random() < 0.3:
        body, _ = sdp.mutated(rng, message.body)
    message.body = body
    message.lines = [
        line for line in message.lines if not line.lower().startswith((b"content-type", b"content-length"))
    ]
    message.lines += [b"Content-Type: " + kind, b"Content-Length: 0"]


def to_tag(rng: random.Random, message: Message) -> None:
    tag = rng.choice([*_TAGS, b";tag=%x" % rng.getrandbits(32)])
    message.lines = [
        line.partition(b";tag")[0] + tag if line.lower().startswith(b"to:") else line for line in message.lines
    ]


def another_request(rng: random.Random, message: Message) -> None:
    """Which the CSeq names: one that was not made, or of another method."""
    number = rng.choice([b"0", b"1", b"2", b"9999", b"2147483647", b"2147483648", b"99999999999", b"-1", b"\xe9"])
    method = rng.choice(
        [b"INVITE", b"BYE", b"CANCEL", b"ACK", b"UPDATE", b"PRACK", b"INFO", b"NOTIFY", b"\xe9", b"invite"]
    )
    message.lines = [
        b"CSeq: " + number + b" " + method if line[:5].lower() == b"cseq:" else line for line in message.lines
    ]


def vias(rng: random.Random, message: Message) -> None:
    rows = [line for line in message.lines if line[:4].lower() == b"via:"]
    others = [line for line in message.lines if line[:4].lower() != b"via:"]
    change = rng.choice([
        lambda: rows[:1], lambda: rows[1:], lambda: rows[::-1], lambda: rows * 2,
        lambda: rows + [rng.choice(rows)] * 30,
        lambda: [b"Via: " + b", ".join(row[4:].strip() for row in rows)], list, lambda: [row[:-3] for row in rows],
    ])  # fmt: skip
    message.lines = (change() if rows else []) + others


# By how often: what is said, then what it is read by.
CHANGES: tuple[Change, ...] = (
    status_line, phrase, phrase, more_rows, more_rows, other_rows, other_rows, other_body, to_tag, another_request,
    vias,
)  # fmt: skip


def broken(mutator: Mutator, whole: bytes, kinds: tuple[str, ...] = ()) -> Mutated:
    """One to three things are wrong with the answer; now and then what may be wrong with any message."""
    rng, message, found = mutator.rng, Message(whole), list(kinds)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change = rng.choice(CHANGES)
        change(rng, message)
        found.append(f"answer_{change.__name__}")
    data = bytes(message)
    if rng.random() < 0.15:
        more = mutator.message(data, soft=rng.random() < 0.7)
        return Mutated(more.data, (*found, *more.kinds), False)
    return Mutated(data, tuple(found), False)
