"""Session descriptions of PBXs that a SIP host reads as they were meant, or that are refused before one sees them."""

from __future__ import annotations

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import SRTP_POLICY_OPTIONAL, TrunkOptions

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
    ],
)
async def test_no_key_whose_packets_bear_an_identifier_is_taken(offer: bytes, status: int, answered: bytes) -> None:
    """pjmedia hears none of them."""
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
