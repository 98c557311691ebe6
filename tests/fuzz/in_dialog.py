"""What a PBX may ask within a call, and the headers and bodies that such requests have: whole and broken ones."""

from __future__ import annotations

import random
from typing import Final

from tests.fuzz.mutations import Message

METHODS: Final = (
    "INVITE", "INVITE", "UPDATE", "UPDATE", "INFO", "OPTIONS", "PRACK", "MESSAGE", "REFER", "REFER", "NOTIFY",
    "SUBSCRIBE", "PUBLISH",
)  # fmt: skip
WITH_OFFER: Final = frozenset({"INVITE", "UPDATE"})
_TIMERS = (
    b"Session-Expires: 90;refresher=uac", b"Session-Expires: 90;refresher=uas", b"Session-Expires: 1;refresher=uas",
    b"Session-Expires: 4294967296", b"Session-Expires: 90;refresher=\xe9", b"Min-SE: 0", b"Min-SE: 99999999",
    b"Require: timer", b"Require: 100rel", b"Supported: \xe9", b"Require: \"", b"Allow: \"", b"Reason: \xe9",
    b"Replaces: a;to-tag=b;from-tag=c", b"Contact: <sip:a@127.0.0.1:9;x=\xe9>", b"Contact: <tel:+1>", b"Contact: *",
    b"RSeq: 1", b"Content-Disposition: early-session;handling=required", b"P-Early-Media: \xff",
)  # fmt: skip
_ROWS: Final[dict[str, tuple[bytes, ...]]] = {
    "INVITE": _TIMERS,
    "UPDATE": _TIMERS,
    "REFER": (
        b"Refer-To: <tel:+1>",
        b"Refer-To: <sip:\xe9@%(host)s>",
        b"Refer-To: <sip:%%c3@%(host)s>",
        b'Refer-To: "',
        b"Refer-To: <sip:1@%(host)s;method=BYE>",
        b"Refer-To: <sip:1@%(host)s?Replaces=a%%3Bto-tag%%3Db>",
        b"Refer-To: <sip:1@%(host)s>, <sip:2@%(host)s>",
        b"Refer-To: ",
        b"Refer-To: <sips:1@%(host)s>",
        b"Refer-To: *",
        b"Refer-To: <sip:1%%00@%(host)s>",
        b"Refer-To: <sip:%%E2%%80%%AE@%(host)s>",
        b"Refer-To: <http://a/>",
        b"Refer-To: <sip:" + b"1" * 64 + b"@%(host)s>",
        b'Refer-To: "\xe9" <sip:1@%(host)s>;x="',
        b"Refer-To: sip:1@%(host)s",
        b"Refer-To: <sip:%%ff@%(host)s>",
        b"Refer-To: <sip:a%%20b%%22@%(host)s>",
        b"Refer-To: <sip:%%F0%%9F%%98%%80@%(host)s>",
        b"Refer-To: <sip:1;phone-context=x@%(host)s>",
        b"Refer-To: <sip:1:secret@%(host)s>",
        b"Refer-To: <tel:%%ed%%a0%%80>",
    ),
    "NOTIFY": (
        b"Event: refer",
        b"Event: \xe9",
        b"Event: refer;id=99999999999",
        b"Subscription-State: active;expires=abc",
        b"Subscription-State: terminated;reason=\xe9",
        b"Subscription-State: ",
        b"Event: message-summary",
        b"Event: ",
    ),
    "INFO": (
        b"Info-Package: \xe9",
        b"Recv-Info: x",
        b"Content-Type: application/dtmf-relay",
        b"Content-Type: application/dtmf",
        b"Content-Type: \xe9",
        b"Content-Type: application/media_control+xml",
        b"Content-Disposition: Info-Package",
    ),
    "PRACK": (
        b"RAck: 1 1 INVITE",
        b"RAck: 1 1",
        b"RAck: \xe9",
        b"RAck: 4294967295 4294967295 INVITE",
        b"RAck: 1 1 BYE",
        b"RAck: 0 0 invite",
    ),
    "SUBSCRIBE": (b"Event: refer;id=1", b"Event: presence", b"Expires: 0", b"Expires: \xe9", b'Accept: "'),
    "MESSAGE": (b'Content-Type: text/plain;charset="', b"Date: \xe9", b"Content-Language: \xe9"),
    "OPTIONS": (b"Accept: \xe9", b"Require: x", b"Max-Forwards: 0"),
    "PUBLISH": (b"Event: presence", b"SIP-If-Match: \xe9"),
}
_BESIDE_REFER = (
    b"Referred-By: <sip:a@b>", b"Referred-By: \xe9", b"Referred-By: \"\xe9\" <sip:a@b>",
    b"Referred-By: <sip:a@b>;cid=\"",
    b"Referred-By: <sip:" + b"a" * 240 + b"@b>", b"Referred-By: \"%%s\\\" <sip:a@b>", b"Referred-By: \"<\" <sip:a@b>",
    b"Refer-Sub: false", b"Refer-Sub: \xe9", b"Require: norefersub", b"Target-Dialog: x", b"Supported: \xe9",
    b"Require: \xe9",
    b"Referred-By: <tel:+1>", b"Referred-By: <sip:a@b?c=d>", b"Referred-By: sip:a@b",
    b"Referred-By: \"a\" <sip:a@b>, <sip:c@d>",
)  # fmt: skip
_BODIES: Final[dict[str, tuple[bytes, ...]]] = {
    "INFO": (
        b"Signal=5\r\nDuration=1\r\n", b"Signal=\xe9", b"Signal=%s\r\n", b"5",
        b"Signal=5\r\nDuration=99999999999\r\n", b"",
        b"Signal=16\r\n", b"\x00", b"Signal=!\r\nDuration=-1", b"Signal=" + b"1" * 3_000,
    ),
    "NOTIFY": (b"SIP/2.0 200 OK\r\n", b"SIP/2.0 699 \xe9\r\n", b"\xff", b""),
    "MESSAGE": (b"hello", b"\xe9", b""),
}  # fmt: skip
_A_NUMBER = 0.4  # REFERs that are followed: each makes a call of ours


def dressed(rng: random.Random, method: str, whole: bytes, host: str) -> tuple[bytes, tuple[str, ...]]:
    """The request with what its method has; `host` is where its sender is. And what was done to it."""
    message, rows = Message(whole), list[bytes]()
    if method == "REFER":
        followed = b"Refer-To: <sip:%d@%%(host)s>" % rng.randrange(10_000)
        rows.append(followed if rng.random() < _A_NUMBER else rng.choice(_ROWS["REFER"]))
        rows += rng.sample(_BESIDE_REFER, rng.choice([0, 0, 1, 2]))
    elif rng.random() < (0.4 if method in WITH_OFFER else 0.8):
        rows += rng.sample(_ROWS[method], rng.choice([1, 1, 2]))
    if method in _BODIES:
        message.body = rng.choice(_BODIES[method])
        if not any(row.startswith(b"Content-Type") for row in rows):
            rows.append(b"Content-Type: " + (b"application/dtmf-relay" if method == "INFO" else b"message/sipfrag"))
    names = {row.partition(b":")[0].lower() for row in rows}
    kept = [line for line in message.lines if line.partition(b":")[0].lower() not in names]
    message.lines = [*kept, *(row % {b"host": host.encode()} if b"%(host)s" in row else row for row in rows)]
    return bytes(message), tuple(f"{method}_{name.decode()}" for name in sorted(names))
