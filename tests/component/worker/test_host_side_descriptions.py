"""Which session descriptions (RFC 4566) of a PBX reach a SIP host, and what is said of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sipmessage import Request, Response

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP
from .port_world import PortWorld, ready


async def offer(wire: sip_wire.SipWire, changed: Callable[[bytes], bytes]) -> Request:
    """An INVITE whose description is a usual one that was changed so."""
    invite = await ready(wire, "INVITE")
    invite.body = changed(invite.body)
    invite.headers.set("Content-Length", str(len(invite.body)))
    return invite


@pytest.mark.parametrize(
    "line",
    [
        "c=IN IP4 " + "1" * 254,
        "c=IN IP4 pbx.example.com",
        "c=IN IP4 1.2.3.4.5",
        "c=IN IP4 127.0.0.1/127",
        "c=IN IP6 " + "a" * 300,
        "c=IN IP4 ::1",
        "c=IN IP6 127.0.0.1",
        "c=IN IP4 127.0.0.1 x",
        "a=rtcp:9 IN IP4 ::1",
        "c=IN IP4 ",
        "c=",
        "a=rtcp:4001 IN IP4 pbx.example.com",
        "a=rtcp:4001 IN IP4 " + "9" * 260,
        "a=rtcp:x",
    ],
)
async def test_a_description_whose_addresses_are_none_is_refused(world: PortWorld, line: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await offer(wire, lambda usual: usual.replace(b"t=0 0", line.encode() + b"\r\nt=0 0"))
        assert (await wire.ask(invite)).status == (488, "Not Acceptable Here")
    assert world.door.admitted == []


LITERAL = ["c=IN IP4 0.0.0.0", "a=rtcp:4001", "a=rtcp:4001 IN IP4 10.0.0.1"]


@pytest.mark.parametrize("line", LITERAL)
async def test_a_description_with_literal_addresses_passes(world: PortWorld, line: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await offer(wire, lambda usual: usual + line.encode() + b"\r\n")
        asking = asyncio.ensure_future(wire.ask(invite))
        assert (await world.host.next()).body == invite.body
        asking.cancel()


@pytest.mark.parametrize("kind", ["", "a", "/", "multipart/mixed", "multipart/mixed;boundary=x", "application/isup"])
async def test_a_body_that_is_no_description_is_refused(world: PortWorld, kind: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        refused = await wire.ask(await ready(wire, "INVITE", Content_Type=kind))
        assert refused.status == (415, "Unsupported Media Type") and refused.header("Accept") == ["application/sdp"]
    assert world.door.admitted == []


@pytest.mark.parametrize("encoding", ["gzip", "identity, x-own"])
async def test_a_description_that_is_encoded_is_refused(world: PortWorld, encoding: str) -> None:
    """RFC 3261 8.2.3. A host would read the bytes as they are."""
    async with sip_wire.udp(world.address) as wire:
        refused = await wire.ask(await ready(wire, "INVITE", Content_Encoding=encoding))
        assert refused.status == (415, "Unsupported Media Type")
        assert refused.header("Accept-Encoding") == ["identity"]
        assert world.door.admitted == []
        asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE", Content_Encoding="identity")))
        assert (await world.host.next()).body
        asking.cancel()


NO_ADDRESS = [
    "m=audio 0 RTP/AVP 8",
    "m=audio 30000 RTP/AVP 8\r\nc=IN IP4 127.0.0.1\r\nm=video 0 RTP/AVP 96",
    "m=audio 30000 RTP/AVP 8\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.1",
    "m=audio 30000 RTP/AVP 8\rc=IN IP4 127.0.0.1\nv=0\nm=video 0 RTP/AVP 96",
]


@pytest.mark.parametrize("media", NO_ADDRESS)
async def test_a_medium_without_an_address_is_refused_even_one_that_is_off(world: PortWorld, media: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        described = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{media}\r\n".encode()
        invite = await offer(wire, lambda _: described)
        assert (await wire.ask(invite)).final.code == 488


@pytest.mark.parametrize(
    ("media", "phrase"),
    [
        ("m=audio 4000 RTP/SAVP 8", "No common codec: offered RTP/SAVP; the gateway has RTP/AVP and RTP/SAVP"),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 8", "No common codec: offered UDP/TLS/RTP/SAVPF; the gateway has RTP/AVP"),
        ("m=audio 4000 RTP/AVP 8\r\nc=IN IP6 ::1", "No common codec: offered sound over IPv6; the gateway has IPv4"),
    ],
)
async def test_an_offer_that_no_host_could_take_says_what_is_missing(world: PortWorld, media: str, phrase: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await offer(wire, lambda _: SDP[: SDP.index(b"m=audio")] + media.encode() + b"\r\n")
        refused = (await wire.ask(invite)).final
        assert refused.code == 488 and refused.phrase.startswith(phrase)
        assert refused.headers.getlist("Warning") == ['399 teletrunk "no-common-codec"']
    assert world.door.admitted == []


@pytest.mark.parametrize(
    "media",
    [
        "m=audio 0 RTP/AVP 18",
        "m=video 4000 RTP/AVP 96",
        "",
        "m=audio 4000 RTP/AVP 18 8",
        "m=audio 4 RTP/SAVP 8\r\nm=audio 4000 RTP/AVP 8",
        "m=audio 4 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\nm=audio 4000 RTP/AVP 8",
    ],
)
async def test_an_offer_that_a_host_can_answer_reaches_it(world: PortWorld, media: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await offer(wire, lambda _: SDP[: SDP.index(b"m=audio")] + media.encode() + b"\r\n")
        asking = asyncio.ensure_future(wire.ask(invite))
        assert isinstance(await world.host.next(), Request)
        asking.cancel()


async def test_a_host_is_offered_one_sound_of_many(world: PortWorld) -> None:
    """pjsua opens sockets for each, and aborts when it has 64."""
    async with sip_wire.udp(world.address) as wire:
        ipv6 = b"m=audio 4000 RTP/AVP 8\r\nc=IN IP6 ::1\r\n"
        more = ipv6 + b"m=video 4002 RTP/AVP 99\r\n" + b"m=audio 4004 RTP/AVP 8\r\na=ptime:20\r\n" * 16
        invite = await offer(wire, lambda usual: usual + more)
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next()
        asking.cancel()
    offered = [line for line in heard.body.split(b"\r\n") if line.startswith(b"m=")]
    assert len(offered) == 19 and [b" 0 RTP/AVP " in line for line in offered] == [False] + 18 * [True]
    assert heard.body.count(b"c=IN IP6 ::1") == 1, "pjsua wants an address of each"


@pytest.mark.parametrize(
    "medium",
    [
        "audio 5004/00000000000000000001 RTP/AVP 8",
        "audio 000000000005004 RTP/AVP 8",
        f"{'a' * 41} 5004 RTP/AVP 8",
        "audio\t5004 RTP/AVP 8",
        "audio  5004 RTP/AVP 8",
        "audio 5004\tRTP/AVP 8",
        "audio RTP/AVP 8",
        "audio 65536 RTP/AVP 8",
        "audio",
    ],
)
async def test_a_medium_that_can_be_read_in_two_ways_is_refused(world: PortWorld, medium: str) -> None:
    """One of us took it for one that is off, and the host for one that is not: it had too many, and aborted."""
    async with sip_wire.udp(world.address) as wire:
        invite = await offer(wire, lambda usual: usual + b"m=" + medium.encode() + b"\r\n")
        assert (await wire.ask(invite)).final.code == 488
    assert world.door.admitted == []


async def test_a_host_reads_no_line_that_it_has_no_use_for(world: PortWorld) -> None:
    """pjmedia takes all up to the next colon for an empty b=, and aborts at what it then has not seen."""
    useless = b"b=\r\ni=x\r\nk=prompt\r\nz=0 0\r\n\xff=\xff\r\njunk\r\n"
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        described = invite.body
        invite.body = described.replace(b"c=IN", useless + b"c=IN", 1) + useless
        invite.headers.set("Content-Length", str(len(invite.body)))
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next()
        asking.cancel()
        assert heard.body == described
        world.host.send(world.host.invite(await world.registered(wire), "c1"))
        rung = await wire.next_request("INVITE")
        wire.send(bytes(response_to(rung, 200, "OK", wire, SDP.replace(b"t=0 0", useless + b"t=0 0"))))
        answer = await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        assert answer.body == SDP
