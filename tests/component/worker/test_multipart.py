"""Bodies of several parts (RFC 5621): the description of sound, or the digit, is found among them."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sipmessage import Request, Response
from teletrunk_worker.sip.body import unwrap
from teletrunk_worker.sip.message import LARGEST_MESSAGE, parse

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled, established
from .port_world import PortWorld, ready

MOST_MS = 20.0
ISUP = (
    b"Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\1\0\x11"
)
LOCATION = b"Content-Type: application/pidf+xml\r\nContent-ID: <x@y>\r\n\r\n<presence/>"
SOUND = b"Content-Type: application/sdp\r\n\r\n" + SDP
DIGIT = b"Content-Type: application/dtmf-relay\r\n\r\nSignal=7\r\nDuration=160"
EARLY = b"Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nv=0\r\n"  # RFC 3959
BASE64 = b"Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0wDQo="
GZIPPED = b"Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"


def mixed(*parts: bytes, boundary: bytes = b"b1", end: bytes = b"\r\n") -> bytes:
    return b"".join(b"--" + boundary + end + part + end for part in parts) + b"--" + boundary + b"--" + end


def carrying(message: Request | Response, kind: str, body: bytes) -> None:
    message.body = body
    message.headers.set("Content-Type", kind)
    message.headers.set("Content-Length", str(len(body)))


MIXED = 'multipart/mixed;boundary="b1"'
NESTED = b"Content-Type: multipart/related; boundary=b2\r\n\r\n" + mixed(LOCATION, SOUND, boundary=b"b2")
READABLE = [
    (MIXED, mixed(SOUND, ISUP)),
    (MIXED, mixed(ISUP, SOUND)),
    (MIXED, mixed(BASE64, GZIPPED, SOUND)),
    (MIXED, b"for old readers\r\n" + mixed(LOCATION, SOUND) + b"\r\nand what is behind"),
    ("Multipart/Related; type=application/sdp ; BOUNDARY=b1", mixed(SOUND, LOCATION)),
    (MIXED, mixed(SOUND, ISUP, end=b"\n")),
    (MIXED, mixed(SOUND, ISUP).replace(b"--b1\r\n", b"--b1 \t\r\n")),
    (MIXED, mixed(SOUND, ISUP).removesuffix(b"--b1--\r\n")),
    ("multipart/mixed;boundary=(b.1+)*", mixed(SOUND, ISUP, boundary=b"(b.1+)*")),
    (MIXED, mixed(ISUP, NESTED)),
    (MIXED, mixed(SOUND.replace(b"Content-Type", b"content-type "))),
    (MIXED, mixed(SOUND.replace(b"Content-Type: ", b"Content-Type:\r\n "))),
    (MIXED, mixed(EARLY, SOUND)),
    (MIXED, mixed(DIGIT, SOUND)),
]


@pytest.mark.parametrize(("kind", "body"), READABLE, ids=range(len(READABLE)))
async def test_a_host_gets_the_description_alone(world: PortWorld, kind: str, body: bytes) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        carrying(invite, kind, body)
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next()
        assert heard.body == SDP and heard.headers.getlist("Content-Type") == ["application/sdp"]
        assert heard.headers.getlist("Content-Length") == [str(len(SDP))]
        asking.cancel()


UNREADABLE = [
    (MIXED, mixed(ISUP, LOCATION)),
    (MIXED, mixed(EARLY, DIGIT)),
    (MIXED, mixed(BASE64)),
    (MIXED, mixed(GZIPPED)),
    (MIXED, mixed(SOUND, boundary=b"b3")),
    (MIXED, mixed(ISUP) + mixed(SOUND)),
    (MIXED, b""),
    ("multipart/mixed", mixed(SOUND)),
    ("multipart/mixed;boundary=", mixed(SOUND, boundary=b"")),
    ("multipart/mixed;boundary=" + "x" * 71, mixed(SOUND, boundary=b"x" * 71)),
    ('multipart/mixed;boundary="b1', mixed(SOUND)),
]


@pytest.mark.parametrize(("kind", "body"), UNREADABLE, ids=range(len(UNREADABLE)))
async def test_parts_that_nobody_reads_are_refused(world: PortWorld, kind: str, body: bytes) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        carrying(invite, kind, body or b"\r\n")
        assert (await wire.ask(invite)).status == (415, "Unsupported Media Type")
    assert world.door.admitted == []


async def test_an_answer_s_description_is_found_too(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, at_pbx = await dialled(world, wire)
        answer = response_to(at_pbx, 200, "OK", wire, SDP)
        carrying(answer, MIXED, mixed(ISUP, SOUND))
        wire.send(bytes(answer))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        assert heard.body.startswith(b"v=0") and heard.headers.getlist("Content-Type") == ["application/sdp"]


async def test_a_digit_is_found_among_parts(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        info = wire.in_dialog("INFO", invite, answer)
        carrying(info, MIXED, mixed(SOUND, DIGIT))
        asking = asyncio.ensure_future(wire.ask(info))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "INFO")
        assert b"7" in heard.body and b"v=0" not in heard.body
        asking.cancel()


def cost_ms(kind: bytes, body: bytes) -> float:
    data = b"INVITE sip:a@b SIP/2.0\r\nCSeq: 1 INVITE\r\nContent-Type: " + kind + b"\r\n\r\n" + body
    message = parse(data[:LARGEST_MESSAGE])
    began = time.thread_time()
    unwrap(message)
    return (time.thread_time() - began) * 1000


PIECES = [
    *(b"--b1", b"\r\n", b"\n", b"--", b" ", b"\t", b":", b"x", b"\0"),
    *(b"Content-Type: multipart/mixed;boundary=b1", b"Content-Type: application/sdp"),
]
TRAPS = st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 2_000)), max_size=12).map(
    lambda runs: b"".join(text * count for text, count in runs)
)
KINDS = [b"multipart/mixed;boundary=" + boundary for boundary in (b"b1", b"-", b"x")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), TRAPS)
@example(b"multipart/mixed;boundary=b1", b"\r\n--b1 " * 8_000)
@example(b"multipart/mixed;boundary=b1", b"\r" * 60_000)
@example(b"multipart/mixed;boundary=-", b"-" * 60_000)
@example(b"multipart/mixed;boundary=" + b'"' * 8_000, b"")
def test_no_body_costs_time(kind: bytes, body: bytes) -> None:
    assert cost_ms(kind, body) < MOST_MS or min(cost_ms(kind, body) for _ in range(3)) < MOST_MS
