"""What a PBX answers to our offer (RFC 3264 6): a host gets what it can read, or the call ends before it is up."""

from __future__ import annotations

import pytest
from sipmessage import Message, Response
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import SRTP_POLICY_OPTIONAL, TrunkOptions

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled
from .port_world import PortWorld

HEAD, SOUND = SDP[: SDP.index(b"m=")], SDP[SDP.index(b"m=") :]
VIDEO = b"m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


def is_final(message: Message) -> bool:
    return isinstance(message, Response) and message.code >= 200


async def heard_of(world: PortWorld, wire: sip_wire.SipWire, body: bytes) -> Response:
    """What the host hears of a 200 with this description."""
    _, invite = await dialled(world, wire)
    wire.send(bytes(response_to(invite, 200, "OK", wire, body)))
    heard = await world.host.next(is_final)
    assert isinstance(heard, Response)
    return heard


@pytest.mark.parametrize(
    "body",
    [
        HEAD + VIDEO + SOUND,
        HEAD + SOUND + VIDEO,
        HEAD + b"m=audio 0 RTP/AVP 8\r\n" + SOUND,
        HEAD + b"m=image 0 udptl t38\r\n" + SOUND + VIDEO,
        SDP.replace(b"m=audio", b"m=Audio"),
        SDP.replace(b"v=0", b"v=1"),
        SDP.replace(b"v=0\r\n", b""),
        SDP.replace(b"t=0 0", b"t=now -"),
        SDP.replace(b"t=0 0\r\n", b""),
        SDP.replace(b"\r\n", b" \t\r\n"),
        SDP.replace(b"\r\n", b"\n"),
        SDP.replace(b"\r\n", b"\r"),
        SDP + b"\r\n\r\njunk\0\xff\r\n",
    ],
)
async def test_the_sound_of_an_answer_stands_where_it_was_offered(world: PortWorld, body: bytes) -> None:
    """pjsua said that the call is up, and hung up with `SDP negotiation failed`."""
    async with sip_wire.udp(world.address) as wire:
        heard = await heard_of(world, wire, body)
        assert (heard.code, sorted(heard.body.split(b"\r\n"))) == (200, sorted(SDP.split(b"\r\n")))


@pytest.mark.parametrize(
    ("change", "row", "said"),
    [
        ((b"IN IP4 127.0.0.1\r\nt=", b"IN IP6 ::1\r\nt="), "no-common-codec", "offered sound over IPv6"),
        ((b"RTP/AVP", b"UDP/TLS/RTP/SAVPF"), "no-common-codec", "offered SRTP (RTP/SAVP); this trunk has it off"),
        ((b"RTP/AVP", b"RTP/SAVP"), "no-common-codec", "offered SRTP (RTP/SAVP); this trunk has it off"),
        ((b"RTP/AVP", b"TCP/RTP/AVP"), "no-common-codec", "offered TCP/RTP/AVP; the gateway has"),
        ((b"IN IP4 127.0.0.1\r\nt=", b"IN IP4 pbx\r\nt="), "bad-request", "no literal address: c=IN IP4 pbx"),
        ((b"audio 4000", b"audio 70000"), "bad-request", "a medium cannot be read"),
        ((b"c=IN IP4 127.0.0.1\r\n", b""), "bad-request", "no address for m=audio"),
    ],
)
async def test_an_answer_that_no_host_could_use_ends_the_call_before_it_is_up(
    world: PortWorld, change: tuple[bytes, bytes], row: str, said: str
) -> None:
    async with sip_wire.udp(world.address) as wire:
        assert (await heard_of(world, wire, SDP.replace(*change))).code == 488
        await wire.next_request("ACK")
        assert said in (await wire.next_request("BYE")).headers["Reason"]
        why = world.port.refused_answer("c1", "t1")
        assert why is not None and why.row.id == row and said in why.phrase


async def test_srtp_without_keys_is_none(world: PortWorld) -> None:
    options = TrunkOptions(srtp=SRTP_POLICY_OPTIONAL)
    world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", options=options)])
    async with sip_wire.udp(world.address) as wire:
        heard = await heard_of(world, wire, SDP.replace(b"RTP/AVP", b"RTP/SAVP"))
        assert heard.code == 488 and "offered RTP/SAVP; the gateway has" in heard.phrase


ISUP = b"\r\nContent-Type: application/ISUP;version=nxv3\r\nContent-Disposition: signal\r\n\r\n\x01\r\n"


@pytest.mark.parametrize(
    ("said", "head"),
    [
        ("multipart/mixed;boundary=b-1", b"Content-Type: application/sdp"),
        ('Multipart/Mixed; boundary="b-1"; x=y', b"Content-ID: <1>\r\ncontent-type : APPLICATION/SDP; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("isup_first", [True, False])
async def test_a_description_among_other_parts_is_the_answer(
    world: PortWorld, said: str, head: bytes, isup_first: bool
) -> None:
    """RFC 5621, of gateways to telephone networks."""
    parts = [ISUP, b"\r\n" + head + b"\r\n\r\n" + SDP + b"\r\n"]
    body = b"".join(b"--b-1" + part for part in (parts if isup_first else parts[::-1])) + b"--b-1--\r\n"
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = response_to(invite, 200, "OK", wire, body)
        answer.headers.set("Content-Type", said)
        wire.send(bytes(answer))
        heard = await world.host.next(is_final)
        assert isinstance(heard, Response) and heard.code == 200
        assert (heard.headers["Content-Type"], heard.body) == ("application/sdp", SDP)


@pytest.mark.parametrize("said", ["multipart/mixed", 'multipart/mixed;boundary=""', "multipart/mixed;boundary=other"])
async def test_parts_that_nobody_can_tell_apart_are_no_answer(world: PortWorld, said: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = response_to(invite, 200, "OK", wire, b"--b\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"--b--")
        answer.headers.set("Content-Type", said)
        wire.send(bytes(answer))
        heard = await world.host.next(is_final)
        assert isinstance(heard, Response) and heard.code == 488 and "answered no sound" in heard.phrase
        await wire.next_request("BYE")
