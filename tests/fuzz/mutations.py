"""Broken SIP messages and SDP bodies, from whole ones: seeded, bounded, in linear time.

A mutation is named, so that what breaks the gateway can be told by its name. Those that leave a request's frame, Via,
From, To, Call-ID and CSeq alone are marked: such a request is owed an answer, whatever else is wrong with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LARGEST = 65_000  # what a datagram can carry
ANSWERABLE = 3_000  # longer ones may be dropped
_MARKS = b"\"<>;=,\\()%@:/ \t'&?[]{}*!"
_SIZES = (4_100, 5_000, 20_000, 60_000)
_NUMBERS = (
    b"abc", b"", b"-1", b"0", b"1", b"1.5", b"0x10", b"1e9", b" ", b"65536", b"2147483648", b"4294967296",
    b"18446744073709551616", b"9" * 400, b"9" * 5_000, b"1;x=y", b"1,2", "٣".encode(), b"+5", b"70 70", b"1_0", b"NaN",
)  # fmt: skip
_NUMERIC = (
    b"Expires", b"Max-Forwards", b"Content-Length", b"Session-Expires", b"Min-SE", b"RSeq", b"RAck", b"Min-Expires",
    b"Retry-After", b"Timestamp", b"MIME-Version", b"Date",
)  # fmt: skip
_ROWS = (
    b"Require: 100rel", b"Require: timer", b"Require: nothing-known", b"Proxy-Require: x", b"Supported: timer,replaces",
    b"Session-Expires: 1;refresher=uac", b"Session-Expires: 90;refresher=junk", b"Min-SE: abc", b"RAck: a b c",
    b"Replaces: a;to-tag=b;from-tag=c", b"Replaces: ;;;", b"Join: x", b"Refer-To: <sip:a@127.0.0.1:9>",
    b"Event: presence", b"Subscription-State: active;expires=abc", b"Content-Encoding: gzip", b"Accept: ,,,",
    b"Content-Disposition: session;handling=optional", b"P-Asserted-Identity: <sip:a@b>, <tel:+1>", b"Privacy: id",
    b"Alert-Info: <http://127.0.0.1/>", b"Reason: Q.850;cause=abc", b"Warning: 399", b"Allow: ", b"Identity: x",
    b"X-Teletrunk-Call: forged/a", b"X-Teletrunk-Call : forged/a", b"Record-Route : <sip:127.0.0.1:9;lr>",
    b"Record-Route: <sip:127.0.0.1:9;lr>", b"Record-Route: junk", b"Route: junk", b"Route: <sip:a;self=1>",
    b"Record-Route: <sip:a;self=1>", b"Path: <sip:a;lr>", b"Contact: *", b"Contact: <sip:a@b>;self=1",
    b"Contact: <sips:a@b>", b"Contact: <tel:+1>", b"Contact: junk", b"Contact: <sip:a@[::1]:1>", b"Contact: <sip:a@b",
    b"Contact: <sip:a@127.0.0.1:70000>", b"Contact: <sip:a@b?Route=x>", b"Authorization: Digest a=",
    b"Authorization: Digest , opaque=", b"Authorization: Digest username=\"a, realm=b", b"Authorization: Basic YTpi",
    b"Authorization: Digest", b"Authorization: Digest =,=,=",
    b"Authorization: Digest username=a,nc=zzzzzzzz,nonce=x,response=\"\"", b"Proxy-Authorization: Digest a=",
    b"Via: SIP/2.0/UDP 127.0.0.1:9;branch", b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-tt-dead", b"Via: junk",
    b"Max-Forwards: 0", b"Max-Forwards: abc", b"Expires: abc", b"Content-Length: 5", b"CSeq: 1 BYE", b"To: <sip:a@b>",
    b"Route: <sip:[::1]:9;lr>", b"Record-Route: <sip:[2001:db8::1]:9;lr>", b"Record-Route: <sip:[::ffff:127.0.0.1];lr>",
    b"Path: <sip:[::1];lr;ob>", b"Contact: <sip:a@[::1>", b"Contact: <sip:a@::1>", b"Contact: <sip:a@[]:9>",
    b"Contact: <sip:a@[fe80::1%25lo]:9>", b"Contact: <sip:a@[1:2:3:4:5:6:7:8:9]>", b"Route: <sip:]:9;lr>",
    b"Via: SIP/2.0/UDP [::1]:9;branch=z9hG4bKa", b"Via: SIP/2.0/UDP [::1;branch=z9hG4bKa",
    b"Via: SIP/2.0/TCP ::1;branch=z9hG4bKa;received=[::1]", b"Via: SIP/2.0/UDP [::1]x:9;branch=z9hG4bKa",
)  # fmt: skip
_TYPES = (
    b"application/sdp", b"application/sdp;charset=\"", b"text/plain", b"multipart/mixed", b"multipart/mixed;boundary=",
    b"multipart/mixed;boundary=x", b"application/dtmf-relay", b"application/media_control+xml", b"/", b"a/b/c", b"junk",
    b"application/pidf+xml", b"message/sipfrag", b"application/dtmf", b"APPLICATION/SDP", b"*/*",
)  # fmt: skip
_URIS = (
    b"tel:+1111", b"tel:+" + b"1" * 3_000 + b"!", b"sips:a@b", b"sip:", b"sip:@", b"a@b", b"http://a/",
    b"sip:a@b;self=1", b"sip:a@[::1]:5060", b"sip:a:b@c:99999", b"sip:%00@b", b"sip:%%%@b", b"sip:a@b?x=y",
    b"sip:a@b;lr;lr;=;", b"urn:x:y", b"sip:a@" + b"b" * 300, b"sip:" + b"a" * 300 + b"@b", b"sip:a@256.1.1.1",
    b"sip:a@b:0", b"sip:a@b:-1", b"SIP:A@B", b"sip:[::1]", b"sip:a@[::1", b"sip:a@::1:5060", b"sip:a@[::g]:5060",
    b"sip:a@[::ffff:127.0.0.1]", b"sip:a@[" + b":" * 300 + b"]", b"sip:[]",
)  # fmt: skip
_METHODS = (b"REFER", b"SUBSCRIBE", b"NOTIFY", b"MESSAGE", b"PUBLISH", b"PRACK", b"X" * 300, b"\xff", b"")
_STATUSES = (b"200 OK", b"099 x", b"999 x", b"abc x", b"180", b"700 " + b"x" * 300, b"-1 x")
_COMPACT = {
    b"call-id": b"i", b"contact": b"m", b"content-length": b"l", b"content-type": b"c", b"from": b"f", b"to": b"t",
    b"via": b"v", b"supported": b"k", b"subject": b"s", b"session-expires": b"x",
}  # fmt: skip
_VITAL = (b"via", b"from", b"to", b"call-id", b"cseq", b"v", b"f", b"t", b"i", b"content-length", b"l")


@dataclass(frozen=True)
class Mutated:
    data: bytes
    kinds: tuple[str, ...]
    answerable: bool  # a request that is owed an answer


class Message:
    """A message taken apart, as far as mutations need it."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.first, *self.lines = head.split(b"\r\n")
        self.length_fits = True

    def __bytes__(self) -> bytes:
        lines = self.lines
        if self.length_fits:
            number = b"Content-Length: %d" % len(self.body)
            lines = [number if line.lower().startswith((b"content-length:", b"l:")) else line for line in lines]
        return b"\r\n".join([self.first, *lines]) + b"\r\n\r\n" + self.body

    def index(self, rng: random.Random, *, vital: bool) -> int | None:
        """Some line's place; only one that no answer hangs on unless `vital`."""
        places = [n for n, line in enumerate(self.lines) if vital or _name(line) not in _VITAL]
        return rng.choice(places) if places else None


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()


def _run(rng: random.Random, most: int) -> bytes:
    """A long run of one mark, or of a short group that nests or repeats."""
    size = rng.choice([n for n in (10, 100, 800, 2_000, *_SIZES) if n <= most] or [10])
    mark = bytes([rng.choice(_MARKS)])
    unit = rng.choice([
        mark, mark, b'"<', b"<sip:", b";p=\"<\"", b"(", b"<<", b"\\\"", b"%41", b",<sip:a@b>", b";a=b", b"=\"\",", b"1",
        b"a=\"x\",", b"[", b"\xc3\xa9", b"?a=b&", b".", b"-", b"+1",
    ])  # fmt: skip
    return (unit * (size // len(unit) + 1))[:size]


def _junk(rng: random.Random) -> bytes:
    """Bytes that are no text, or text that ends lines where none should end."""
    return rng.choice([
        b"\x00", b"\r", b"\n", b"\xff\xfe", b"\xe9", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x7f",
        b"\x1b[31m", b"\r\n", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"%0d%0a", b"\xef\xbb\xbf", b"%s%n%x",
        b"\r\n\r\n",
    ])  # fmt: skip


def _splice(rng: random.Random, data: bytes, piece: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + piece + data[at:]


# Each takes the message apart from its bytes, changes it in place, and may be told how large it may become.
Change = Callable[[random.Random, Message, int], None]


def change_value(rng: random.Random, message: Message, most: int, *, vital: bool = False) -> None:
    if (at := message.index(rng, vital=vital)) is None:
        return
    name, _, value = message.lines[at].partition(b":")
    message.lines[at] = name + b":" + rng.choice([
        lambda: _splice(rng, value, _run(rng, most)),
        lambda: b" " + _run(rng, most),
        lambda: b"",
        lambda: value + value,
        lambda: b" " + rng.choice(_NUMBERS),
        lambda: b" <" + rng.choice(_URIS) + b">;tag=1",
        lambda: b" " + rng.choice(_URIS),
        lambda: value[: rng.randint(0, len(value))],
        lambda: value + b";self=1",
    ])()  # fmt: skip


def change_vital_value(rng: random.Random, message: Message, most: int) -> None:
    change_value(rng, message, most, vital=True)


def splice_junk(rng: random.Random, message: Message, most: int) -> None:
    if (at := message.index(rng, vital=True)) is not None:
        message.lines[at] = _splice(rng, message.lines[at], _junk(rng))


def add_row(rng: random.Random, message: Message, most: int) -> None:
    row = rng.choice([row for row in _ROWS if _name(row) not in _VITAL])
    message.lines.insert(rng.randint(1, len(message.lines)), row)


def add_vital_row(rng: random.Random, message: Message, most: int) -> None:
    message.lines.insert(rng.randint(0, len(message.lines)), rng.choice([row for row in _ROWS if _name(row) in _VITAL]))


def replace_by_row(rng: random.Random, message: Message, most: int) -> None:
    row = rng.choice([row for row in _ROWS if _name(row) not in _VITAL])
    message.lines = [line for line in message.lines if _name(line) != _name(row)] + [row]


def number(rng: random.Random, message: Message, most: int) -> None:
    name = rng.choice([name for name in _NUMERIC if name != b"Content-Length"])
    message.lines = [line for line in message.lines if _name(line) != name.lower()]
    message.lines.append(name + b": " + rng.choice([n for n in _NUMBERS if len(n) < most]))


def cseq(rng: random.Random, message: Message, most: int) -> None:
    value = rng.choice(_NUMBERS) + rng.choice([b" INVITE", b" REGISTER", b"", b" invite", b"INVITE", b" \xff", b" A B"])
    message.lines = [b"CSeq: " + value if _name(line) == b"cseq" else line for line in message.lines]


def content_length(rng: random.Random, message: Message, most: int) -> None:
    message.length_fits = False
    value = rng.choice([*_NUMBERS, b"10", b"100000", str(len(message.body) + 1).encode()])
    line = b"Content-Length: " + value
    message.lines = [line if _name(old) == b"content-length" else old for old in message.lines]


def content_type(rng: random.Random, message: Message, most: int) -> None:
    message.lines = [line for line in message.lines if _name(line) != b"content-type"]
    message.lines.append(b"Content-Type: " + rng.choice(_TYPES))
    if rng.random() < 0.3:
        message.body = rng.choice([b"", b"\r\n", b"--x\r\n", b"--x\r\nContent-Type: application/sdp\r\n\r\n--x--"])


def pad(rng: random.Random, message: Message, most: int) -> None:
    size = rng.choice([n for n in (*_SIZES, 3_500, 3_900, 4_300) if n <= most] or [most])
    where = rng.choice([b"Subject: ", b"X-Padding: ", b"User-Agent: ", b"P-Asserted-Identity: <sip:"])
    message.lines.insert(rng.randint(1, len(message.lines)), where + b"x" * max(1, size - len(bytes(message))))


def repeat(rng: random.Random, message: Message, most: int) -> None:
    line = rng.choice([
        b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKa", b"Record-Route: <sip:127.0.0.1:9;lr>",
        b"Route: <sip:127.0.0.1:9>", b"Contact: <sip:a@127.0.0.1:9>", b"X-A: b", b"Supported: timer",
        b"Authorization: Digest a=b", b"a: b", b"P:",
    ])  # fmt: skip
    count = rng.choice([n for n in (5, 40, 150, 190, 400, 2_000) if n * (len(line) + 2) < most] or [2])
    message.lines += [line] * count


def many_in_one(rng: random.Random, message: Message, most: int) -> None:
    name, item = rng.choice([
        (b"Record-Route: ", b"<sip:127.0.0.1:9;lr>"), (b"Route: ", b"<sip:a;lr>"), (b"Contact: ", b"<sip:a@b>"),
        (b"Supported: ", b"x"), (b"Contact: ", b"\"a\" <sip:b>"),
    ])  # fmt: skip
    count = rng.choice([n for n in (5, 60, 500, 2_500) if n * (len(item) + 1) < most] or [2])
    message.lines.append(name + b",".join([item] * count))


def fold(rng: random.Random, message: Message, most: int) -> None:
    if (at := message.index(rng, vital=True)) is not None:
        name, _, value = message.lines[at].partition(b":")
        message.lines[at] = name + b":" + rng.choice([b"\r\n ", b"\r\n\t", b" \r\n  \r\n "]) + value.strip()


def duplicate(rng: random.Random, message: Message, most: int) -> None:
    if (at := message.index(rng, vital=True)) is not None:
        message.lines.insert(rng.randint(0, len(message.lines)), message.lines[at])


def remove(rng: random.Random, message: Message, most: int) -> None:
    if (at := message.index(rng, vital=rng.random() < 0.3)) is not None:
        del message.lines[at]


def rename(rng: random.Random, message: Message, most: int) -> None:
    """Odd case, compact forms, blanks before the colon."""
    if (at := message.index(rng, vital=True)) is not None:
        name, _, value = message.lines[at].partition(b":")
        lower = name.lower()
        name = rng.choice([name.upper(), lower, _COMPACT.get(lower, lower), name.swapcase(), name + b" ", name + b"\t"])
        message.lines[at] = name + b":" + value


def first_line(rng: random.Random, message: Message, most: int) -> None:
    method, _, rest = message.first.partition(b" ")
    uri = rest.rpartition(b" ")[0]
    message.first = rng.choice([
        lambda: method + b" " + rng.choice(_URIS) + b" SIP/2.0",
        lambda: method + b" " + _splice(rng, uri, _run(rng, most)) + b" SIP/2.0",
        lambda: rng.choice(_METHODS) + b" " + uri + b" SIP/2.0",
        lambda: method + b" " + uri + rng.choice([b" SIP/3.0", b"", b" SIP/2.0 ", b" HTTP/1.1", b"  SIP/2.0"]),
        lambda: b"SIP/2.0 " + rng.choice(_STATUSES),
        lambda: method.lower() + b" " + uri + b" sip/2.0",
    ])()  # fmt: skip


SOFT: tuple[Change, ...] = (change_value, add_row, replace_by_row, number, content_type, pad, many_in_one)
HARD: tuple[Change, ...] = (
    change_vital_value, splice_junk, add_vital_row, cseq, content_length, repeat, fold, duplicate, remove, rename,
    first_line,
)  # fmt: skip


def flip(rng: random.Random, data: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(1, len(data))]


class Mutator:
    """Everything that it makes follows from its seed and the messages that it is given."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def message(self, data: bytes, largest: int = LARGEST, *, soft: bool = False) -> Mutated:
        """One to four things are wrong with it. `soft` ones leave its frame and what answers need alone."""
        rng, message, kinds = self.rng, Message(data), []
        soft = soft or rng.random() < 0.5
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
            change = rng.choice(SOFT if soft else SOFT + HARD)
            change(rng, message, max(64, largest - len(bytes(message))))
            kinds.append(change.__name__)
        broken = bytes(message)
        if not soft and rng.random() < 0.2:
            raw = rng.choice([flip, cut])
            broken = raw(rng, broken)
            kinds.append(raw.__name__)
        return Mutated(broken[:largest], tuple(kinds), soft and len(broken) <= min(ANSWERABLE, largest))
