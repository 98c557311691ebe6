"""Broken SDP bodies, from a whole one: seeded and bounded as the messages are."""

from __future__ import annotations

import random
from collections.abc import Callable

_HOSTS = (
    b"localhost", b"nobody.invalid", b"a" * 63, b"a." * 100 + b"b", b"x" * 253, b"x" * 254, b"x" * 300, b"1" * 254,
    b"0.0.0.0", b"255.255.255.255", b"224.0.0.1", b"224.2.1.1/127/3", b"256.1.1.1", b"127.1", b"2130706433",
    b"0x7f000001", b"", b" ", b"127.0.0.1 x", b"127.0.0.1/32", b"%s", b"-1", b"\xff", b"127.0.0.1\x00", b"::1",
    b"[::1]",
)  # fmt: skip
_CONNECTIONS = (
    b"c=IN IP6 ::1", b"c=IN IP6 ::", b"c=IN IP6 fe80::1%lo", b"c=IN IP6 " + b"f" * 254, b"c=IN IP9 127.0.0.1", b"c=",
    b"c=IN", b"c=IN IP4", b"c=ATM NSAP 47", b"c= IN IP4 127.0.0.1", b"c=IN  IP4  127.0.0.1", b"c=IN IP4 ::1",
    b"c=IN IP6 127.0.0.1", b"c=in ip4 127.0.0.1",
)  # fmt: skip
_MEDIA = (
    b"m=audio 0 RTP/AVP 8", b"m=audio 70000 RTP/AVP 8", b"m=audio -1 RTP/AVP 8", b"m=audio abc RTP/AVP 8", b"m=audio",
    b"m=audio 9 RTP/AVP", b"m=audio 9 RTP/SAVP 8", b"m=audio 9 RTP/SAVPF 8", b"m=audio 9 UDP/TLS/RTP/SAVPF 8", b"m=",
    b"m=audio 9/2 RTP/AVP 8", b"m=audio 9 RTP/AVP 18", b"m=audio 9 RTP/AVP 999", b"m=audio 9 RTP/AVP -1",
    b"m=audio 65535 RTP/AVP 8", b"m=audio 9 RTP/AVP 8 8 8 8", b"m=audio 9 RTP/AVP abc", b"m=audio 1 RTP/AVP 8 0 101",
    b"m=audio 65536 RTP/AVP 8", b"m=audio 9 RTP/AVP 96 97 98", b"m=image 9 udptl t38", b"m=text 9 RTP/AVP 98",
    b"m=audio 9 TCP/RTP/AVP 8", b"m=audio 9/00000000000000000001 RTP/AVP 8", b"m=audio\t9 RTP/AVP 8",
    b"m=" + b"a" * 41 + b" 9 RTP/AVP 8", b"m=audio 00000000000000000000009 RTP/AVP 8", b"m=audio  9 RTP/AVP 8",
)  # fmt: skip
_LINES = (
    b"a=rtcp:9", b"a=rtcp:abc", b"a=rtcp:70000", b"a=rtcp:9 IN IP4 nobody.invalid", b"a=rtcp:9 IN IP4 " + b"x" * 254,
    b"a=rtcp:9 IN IP4 " + b"1" * 300, b"a=rtcp:", b"a=rtcp:9 IN IP6 ::1", b"a=rtcp:-1 IN IP4 0.0.0.0", b"a=rtcp:0",
    b"a=rtcp:9 IN IP4", b"a=rtcp-mux", b"a=rtcp-fb:* nack", b"a=ptime:0", b"a=ptime:-1", b"a=ptime:99999",
    b"a=ptime:abc", b"a=maxptime:1", b"a=sendonly", b"a=recvonly", b"a=inactive", b"a=sendrecv",
    b"a=rtpmap:8 PCMU/8000", b"a=rtpmap:8 PCMA/0", b"a=rtpmap:8 PCMA/abc", b"a=rtpmap:8 PCMA/4294967295",
    b"a=rtpmap:8", b"a=rtpmap:", b"a=rtpmap:8 /", b"a=rtpmap:8 PCMA/8000/0", b"a=rtpmap:8 PCMA/8000/255",
    b"a=rtpmap:8 PCMA", b"a=rtpmap:abc PCMA/8000", b"a=rtpmap:8  PCMA/8000", b"a=rtpmap:8 " + b"P" * 500 + b"/8000",
    b"a=rtpmap:101 telephone-event/0", b"a=rtpmap:101 telephone-event/48000", b"a=fmtp:101 0-99999", b"a=fmtp:101",
    b"a=fmtp:8 " + b"a=b;" * 100, b"a=fmtp:8 " + b"x" * 1_000, b"a=fmtp:", b"a=fmtp:8 =;=;",
    b"a=candidate:1 1 UDP 1 127.0.0.1 9 typ host", b"a=candidate:",
    b"a=candidate:1 1 UDP 1 nobody.invalid 9 typ host",
    b"a=candidate:" + b"1" * 300 + b" 1 UDP 1 127.0.0.1 9 typ host",
    b"a=candidate:1 1 UDP 99999999999 ::1 70000 typ junk", b"a=ice-ufrag:a", b"a=ice-pwd:" + b"x" * 300,
    b"a=ice-lite", b"a=ice-mismatch", b"a=setup:actpass", b"a=setup:junk",
    b"a=fingerprint:sha-256 " + b"AB:" * 31 + b"AB", b"a=fingerprint:",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", b"a=crypto:", b"a=mid:",
    b"a=ssrc:x", b"a=group:BUNDLE a b", b"a=label:" + b"x" * 400, b"b=AS:0", b"b=AS:abc", b"b=TIAS:99999999999",
    b"b=", b"b=RS:-1", b"k=x", b"a=", b"a", b"=", b"z=1 2 3", b"t=abc def", b"t=", b"o=",
    b"o=- abc abc IN IP4 127.0.0.1", b"o=- 1 1 IN IP4", b"s=", b"v=1", b"v=abc", b"i=x", b"u=x", b"e=x", b"r=7d 1h 0",
    b"\xff=\xff", b"a=\x00", b"a=charset:x", b"a=silenceSupp:on", b"a=" + b"x" * 2_000,
    b"a=rtcp:9 IN IP4 127.0.0.1\ra=x", b"m=audio 9 RTP/AVP 8", b"a=sendrecv:x", b"a=X-" + b"\"" * 300,
)  # fmt: skip


def _connection(rng: random.Random, lines: list[bytes]) -> None:
    new = rng.choice([b"c=IN IP4 " + rng.choice(_HOSTS), b"c=IN IP4 " + rng.choice(_HOSTS), rng.choice(_CONNECTIONS)])
    where = rng.random()
    if where < 0.6:
        lines[:] = [new if line.startswith(b"c=") else line for line in lines]
    elif where < 0.7:
        lines[:] = [line for line in lines if not line.startswith(b"c=")]
    else:
        lines.insert(rng.randint(1, len(lines)), new)


def _media(rng: random.Random, lines: list[bytes]) -> None:
    new = rng.choice(_MEDIA)
    if rng.random() < 0.6:
        lines[:] = [new if line.startswith(b"m=") else line for line in lines]
    else:
        lines.append(new)


def _add_line(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(rng.randint(0, len(lines)), rng.choice(_LINES))


def _replace_line(rng: random.Random, lines: list[bytes]) -> None:
    new = rng.choice(_LINES)
    lines[:] = [line for line in lines if line[:6] != new[:6]] + [new]


def _more_media(rng: random.Random, lines: list[bytes]) -> None:
    piece = rng.choice([
        [b"m=video 9 RTP/AVP 96", b"a=rtpmap:96 H264/90000"], [b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel"],
        [b"m=audio 9 RTP/AVP 0"], [b"m=video 0 RTP/AVP 96"], [b"m=message 9 TCP/MSRP *"],
    ])  # fmt: skip
    block = piece * rng.choice([1, 1, 2, 15, 17, 40])
    lines[:] = block + lines if rng.random() < 0.1 else lines + block


def _no_connection_of_its_own(rng: random.Random, lines: list[bytes]) -> None:
    """A refused m= line (port 0), and no c= line that is for it."""
    lines[:] = [line for line in lines if not line.startswith(b"c=")]
    refused = rng.choice([b"m=video 0 RTP/AVP 96", b"m=audio 0 RTP/AVP 8"])
    lines += rng.choice(
        [[refused], [b"c=IN IP4 127.0.0.1", refused], [refused, b"m=audio 9 RTP/AVP 8", b"c=IN IP4 127.0.0.1"]]
    )


def _many_codecs(rng: random.Random, lines: list[bytes]) -> None:
    count = rng.choice([10, 33, 64, 128, 300])
    numbers = b" ".join(b"%d" % n for n in range(count))
    lines[:] = [b"m=audio 9 RTP/AVP " + numbers if line.startswith(b"m=") else line for line in lines]
    if rng.random() < 0.5:
        lines += [b"a=rtpmap:%d X%d/8000" % (n, n) for n in range(count)]


def _drop_line(rng: random.Random, lines: list[bytes]) -> None:
    if len(lines) > 1:
        del lines[rng.randrange(len(lines))]


def _shuffle(rng: random.Random, lines: list[bytes]) -> None:
    rng.shuffle(lines)


def _repeat_line(rng: random.Random, lines: list[bytes]) -> None:
    lines += [rng.choice(lines)] * rng.choice([1, 10, 70, 120])


def _flip(rng: random.Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    line = bytearray(lines[at] or b"x")
    line[rng.randrange(len(line))] = rng.randrange(256)
    lines[at] = bytes(line)


Change = Callable[[random.Random, list[bytes]], None]
CHANGES: tuple[Change, ...] = (
    _connection, _connection, _media, _media, _add_line, _add_line, _add_line, _replace_line, _more_media, _many_codecs,
    _no_connection_of_its_own, _drop_line, _shuffle, _repeat_line, _flip,
)  # fmt: skip


def mutated(rng: random.Random, sdp: bytes, largest: int = 60_000) -> tuple[bytes, tuple[str, ...]]:
    """The body, and what was done to it."""
    lines, kinds = [line for line in sdp.split(b"\r\n") if line], []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5])):
        change = rng.choice(CHANGES)
        change(rng, lines)
        kinds.append("sdp" + change.__name__)
        lines = lines or [b"v=0"]
    end = rng.choice([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n\r\n"])
    body = end.join(lines) + (end if rng.random() < 0.9 else b"")
    if rng.random() < 0.04:
        body, kinds = b"", ["sdp_empty"]
    elif rng.random() < 0.04:
        body, kinds = body[: rng.randint(1, len(body))], [*kinds, "sdp_cut"]
    return body[:largest], tuple(kinds)
