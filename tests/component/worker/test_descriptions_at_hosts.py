"""Session descriptions of PBXs that a SIP host reads as they were meant, or that are refused before one sees them."""

from __future__ import annotations

import re

import pytest
from sipmessage import Request
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import SRTP_POLICY_OPTIONAL, SRTP_POLICY_UNSPECIFIED, TrunkOptions
from teletrunk_worker.legs.wire import Message

from tests import sip_wire
from tests.sip_wire import response_to

from .edge_and_host import CALL_OUT, edge_and_host, ready_with

USUAL = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
HEADS = {
    "an empty name": (b"s=-", b"s="),
    "no name": (b"s=-\r\n", b""),
    "a number of more than 64 bits": (b"o=- 1 1", b"o=- 162837465102938475610 162837465102938475611"),
    "a name in two words": (b"o=- 1", b"o=Our PBX 1"),
    "no origin": (b"o=- 1 1 IN IP4 127.0.0.1\r\n", b""),
}


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
async def test_an_offer_counts_whatever_its_head_says(change: tuple[bytes, bytes]) -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        answer = await world.called(wire, await ready_with(wire, USUAL.replace(*change)))
        assert answer.code == 200 and b" RTP/AVP 8 101\r\n" in answer.body


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
async def test_so_does_an_answer(change: tuple[bytes, bytes]) -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        world.dial(await world.ports.registered(wire))
        invite = await wire.next_request("INVITE")
        wire.send(bytes(response_to(invite, 200, "OK", wire, USUAL.replace(*change))))
        assert (await world.event("answered"))["codec"] == "PCMA/8000"
        world.hang_up(CALL_OUT)


NO_TYPES = {
    "of an event": (b" 101\r\na=rtpmap:101", b" 200\r\na=rtpmap:200"),
    "of a codec": (b"m=audio 4000 RTP/AVP 8", b"m=audio 4000 RTP/AVP 130 8"),
    "of a codec that the trunk has": (b" 8 101\r\n", b" 200 8 101\r\na=rtpmap:200 PCMU/8000\r\n"),
}


@pytest.mark.parametrize("change", NO_TYPES.values(), ids=NO_TYPES)
async def test_a_payload_type_that_is_none_spoils_nothing_else(change: tuple[bytes, bytes]) -> None:
    """RTP has seven bits for it: above 127 nothing can be sent by it, and pjmedia refuses all for one."""
    body = USUAL.replace(*change)
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        video = b"m=video 4002 RTP/AVP 300\r\na=rtpmap:300 H264/90000\r\nm=application 4004 TCP/MRCPv2 1\r\n"
        video += b"m=application 9 DTLS/SCTP 5000\r\n"  # pjmedia takes whatever begins with a digit for one
        answer = await world.called(wire, await ready_with(wire, body + video))
        assert answer.code == 200 and b" RTP/AVP 8" in answer.body and b"m=video 0 RTP/AVP 0\r\n" in answer.body
    event, taken, _ = await answered_with(body)
    assert event["event"] == "answered" and taken == "PCMA/8000"


def keyed(*keys: str, profile: str = "SAVP") -> bytes:
    offered = USUAL.replace(b"RTP/AVP", b"RTP/" + profile.encode())
    lines = [f"a=crypto:{number} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n" for number, key in enumerate(keys, 1)]
    return offered + "".join(lines).encode()


@pytest.mark.parametrize(
    ("offer", "status", "answered"),
    [
        (keyed(f"{KEY}|2^31|1:1", f"{KEY}|2^31"), 200, b"a=crypto:2 "),
        (keyed(f"{KEY}|1:4 UNENCRYPTED_SRTCP", KEY), 200, b"a=crypto:2 "),
        (keyed(f"{KEY}|2^48|000000001:128;inline:{KEY}|2:128", f"{KEY}|2^20"), 200, b"a=crypto:2 "),
        (keyed(f"{KEY}|1048576"), 200, b"a=crypto:1 "),
        (keyed(f"{KEY}|2^20|1:4"), 488, b""),
        (keyed(f"{KEY}|2^20|1:4") + USUAL[USUAL.index(b"m=") :], 200, b"m=audio 0 RTP/SAVP"),
        (keyed(f"{KEY}|2^20|1:4", profile="AVP"), 200, b" RTP/AVP 8"),
        (keyed(KEY[:20], KEY), 200, b"a=crypto:2 "),
        (keyed(f"{KEY} UNENCRYPTED_SRTP", KEY), 200, b"a=crypto:2 "),
        (keyed(KEY) + keyed(KEY)[-len(keyed(KEY)) + len(keyed()) :], 200, b"a=crypto:1 "),
        (keyed(KEY[:20]), 488, b""),
        (keyed(KEY[:20], profile="AVP"), 200, b" RTP/AVP 8"),
    ],
)
async def test_of_keys_one_that_can_be_used_is_taken(offer: bytes, status: int, answered: bytes) -> None:
    """pjmedia hears nothing of a peer whose packets bear an identifier, and refuses all for one bad key."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        options = TrunkOptions(srtp=SRTP_POLICY_OPTIONAL)
        world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", options=options)])
        await world.ports.registered(wire)
        answer = await world.called(wire, await ready_with(wire, offer))
        assert (
            answer.code == status and answered in answer.body and (b"a=crypto" in answer.body) is (b"a=c" in answered)
        )
        assert status == 200 or "offered RTP/SAVP with an MKI" in answer.phrase


@pytest.mark.parametrize("same", [True, False])
async def test_a_200_without_a_description_has_that_of_its_183(same: bool) -> None:
    """RFC 3261 13.2.1: the first one that is received is the answer; of another phone's it is none."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        world.dial(await world.ports.registered(wire))
        invite = await wire.next_request("INVITE")
        early = response_to(invite, 183, "Session Progress", wire, USUAL)
        if not same:
            early.headers.set("To", f"{invite.headers['To']};tag=another")
        wire.send(bytes(early))
        await world.event("progress")
        wire.send(bytes(response_to(invite, 200, "OK", wire)))
        assert str((await wire.next_request("ACK")).uri) == f"sip:pbx@127.0.0.1:{wire.local[1]}"
        if same:
            assert (await world.event("answered"))["codec"] == "PCMA/8000"
            world.hang_up(CALL_OUT)
        await wire.next_request("BYE")


async def answered_with(body: bytes, *, srtp: bool = False) -> tuple[Message, str, Request | None]:
    """What a host hears of this answer to its call: how the call went on, in which codec, and the BYE if it ended."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        options = TrunkOptions(srtp=SRTP_POLICY_OPTIONAL if srtp else SRTP_POLICY_UNSPECIFIED)
        world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", options=options)])
        world.dial(await world.ports.registered(wire))
        invite = await wire.next_request("INVITE")
        wire.send(bytes(response_to(invite, 200, "OK", wire, body)))
        await wire.next_request("ACK")
        event = await world.event("answered", "ended")
        if event["event"] == "answered":
            world.hang_up(CALL_OUT)
            return event, str(event["codec"]), None
        return event, "", await wire.next_request("BYE")


def described(*lines: str) -> bytes:
    return USUAL[: USUAL.index(b"m=")] + "".join(f"{line}\r\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        (described("m=audio 4000 RTP/AVP 3 8"), "PCMA/8000"),  # GSM was not offered; the host would take it
        (described("m=audio 4000 RTP/AVP 0 8"), "PCMU/8000"),
        (described("m=audio 4000 RTP/AVP 9", "a=rtpmap:9 G722/16000"), "G722/16000"),
        (described("m=audio 4000 RTP/AVP 8", "m=unknown 0"), "PCMA/8000"),
        (described("m=AUDIO 4000 RTP/AVP 8"), "PCMA/8000"),
        (described("m=audio 4000 rtp/avp 8"), "PCMA/8000"),
        (described("m=audio 4000 RTP/AVP 8 96", "a=rtpmap:96 telephone-event/8000"), "PCMA/8000"),
    ],
)
async def test_an_answer_has_the_codec_that_was_offered(body: bytes, codec: str) -> None:
    event, taken, _ = await answered_with(body)
    assert event["event"] == "answered" and taken == codec


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (described("m=audio 4000 RTP/AVP 3"), "answered GSM; offered PCMA, PCMU, G722"),
        (described("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMA/8000"), "answered PCMA (97); offered"),
        (described("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMA/16000"), "answered PCMA/16000; offered"),
        (described("m=audio 0 RTP/AVP 8"), "answered no sound; offered"),
        (described("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"), "answered no sound; offered"),
        (b"hello\r\n", "answered no sound; offered"),
        (b"", "answered no sound; offered"),
        (USUAL.replace(b"IP4 127.0.0.1\r\nt", b"IP6 ::1\r\nt"), "offered sound over IPv6; the gateway has IPv4"),
        (USUAL + b"c=IN IP6 ::1\r\n", "offered sound over IPv6; the gateway has IPv4"),
        (USUAL.replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVPF"), "offered UDP/TLS/RTP/SAVPF; the gateway has RTP/AVP"),
        (USUAL.replace(b"RTP/AVP", b"udp"), "offered UDP; the gateway has RTP/AVP"),
        (keyed(KEY[:20]), "offered keys with an MKI or of other suites"),
        (keyed(KEY), "other suites or tags than asked for"),  # our first is of another suite
        (keyed(KEY).replace(b"crypto:1", b"crypto:9"), "other suites or tags than asked for"),
        (keyed(KEY, profile="AVP").replace(b"crypto:1", b"crypto:9"), "other suites or tags than asked for"),
    ],
)
async def test_an_answer_without_one_ends_the_call_before_it_is_up_and_says_why(body: bytes, said: str) -> None:
    """The host would say that it is answered, and then hang up with `SDP negotiation failed`."""
    event, _, bye = await answered_with(body, srtp=True)
    assert event["event"] == "ended" and event["status"] == 488 and said in event["phrase"]
    assert bye is not None and "cause=488" in bye.headers["Reason"] and said in bye.headers["Reason"]


@pytest.mark.parametrize("tags", [(3,), (9, 3), (3, 4), (3, 3)])
async def test_of_the_keys_of_an_answer_the_one_that_was_offered_counts(tags: tuple[int, ...]) -> None:
    """RFC 4568 5.1.2. The host has no sound with another, and says all the same that the call is up."""
    body = keyed(*[KEY] * len(tags))
    for number, tag in enumerate(tags, 1):
        body = body.replace(b"crypto:%d AES" % number, b"crypto:%d  AES" % tag)
    event, taken, _ = await answered_with(body, srtp=True)
    assert event["event"] == "answered" and taken == "PCMA/8000"


async def test_an_offer_of_ours_has_keys_at_the_clocks_of_its_codecs() -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        world.dial(await world.ports.registered(wire))
        body = (await wire.next_request("INVITE")).body
        assert re.findall(rb"telephone-event/([0-9]+)", body) == [b"8000"] and b" RTP/AVP 8 0 9 120\r\n" in body
        world.hang_up(CALL_OUT)
