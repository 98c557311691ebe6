"""An INVITE that leaves the offer to us (RFC 3261 13.2.1): its ACK has the answer, or the call has no sound."""

from __future__ import annotations

import asyncio

import pytest
from sipmessage import Request, Response

from tests import rtp_wire, sip_wire

from .edge_and_host import CALL_IN, EdgeAndHost, edge_and_host, ready_with
from .test_descriptions_at_hosts import USUAL, described

_SOON_S = 0.5  # by then the host has read the ACK


def acknowledge(wire: sip_wire.SipWire, invite: Request, answer: Response, of: Request, body: bytes) -> None:
    ack = wire.in_dialog("ACK", invite, answer, CSeq=f"{of.cseq.sequence} ACK")
    describe(ack, body)
    wire.send(bytes(ack))


def describe(request: Request, body: bytes) -> None:
    request.body = body
    request.headers.setlist("Content-Type", ["application/sdp"] if body else [])
    request.headers.set("Content-Length", str(len(body)))


async def called(world: EdgeAndHost, wire: sip_wire.SipWire, answer: bytes) -> tuple[Request, Response]:
    """A call whose ACK has this description."""
    invite = await ready_with(wire, b"")
    describe(invite, b"")
    asking, answering = asyncio.ensure_future(wire.ask(invite)), asyncio.ensure_future(world._answer())
    offer = (await asking).final
    await answering
    assert offer.code == 200 and b"m=audio" in offer.body
    acknowledge(wire, invite, offer, invite, answer)
    return invite, offer


@pytest.mark.parametrize("answer", [USUAL, described("m=audio 4000 RTP/AVP 3 0", "m=unknown 0")])
async def test_an_answer_in_the_ack_is_taken(answer: bytes) -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        await called(world, wire, answer)
        assert (await world.event("answered"))["codec"] == ("PCMA/8000" if answer == USUAL else "PCMU/8000")
        world.hang_up(CALL_IN)
        await wire.next_request("BYE")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n",
        described("m=audio 4000 RTP/AVP 3"),
        described("m=audio 4000 RTP/AVP 8").replace(b"c=", b"x="),
        described("m=audio 4000 RTP/AVP 8", "c=IN IP6 ::1"),
    ],
    ids=["none", "no description", "a codec that was not offered", "no address", "an address of IPv6"],
)
async def test_an_ack_without_one_ends_the_call(answer: bytes) -> None:
    """The host waited for it, the Telegram user heard nothing, and each offer of the PBX was answered 491."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        await called(world, wire, answer)
        bye = await wire.next_request("BYE")
        assert "SDP negotiation failed" in bye.headers["Reason"]
        wire.answer(bye, 200, "OK")
        ended = await world.event("ended")
        assert "SDP negotiation failed" in ended["phrase"] and not ended["by_us"]


@pytest.mark.parametrize("refused", [b"", described("m=audio 4000 RTP/AVP 8", "c=IN IP6 ::1")])
async def test_within_a_call_it_leaves_all_as_it_is(refused: bytes) -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire, rtp_wire.rtp() as sound:
        invite = await ready_with(wire, sound.offer())
        answer = await world.called(wire, invite)
        again = wire.in_dialog("INVITE", invite, answer)
        describe(again, b"")
        assert b"m=audio" in (await wire.ask(again)).final.body
        acknowledge(wire, invite, answer, again, refused)
        await asyncio.sleep(_SOON_S)
        sound.heard.clear()
        async with asyncio.timeout(sip_wire.PATIENCE_S):
            while len(sound.heard) < 10:  # its sound goes on
                await asyncio.sleep(0.02)
        third = wire.in_dialog("INVITE", invite, answer)
        describe(third, sound.offer(version=2))
        assert (await wire.ask(third)).final.code == 200
        acknowledge(wire, invite, answer, third, b"")
        world.hang_up(CALL_IN)
        await wire.next_request("BYE")


@pytest.mark.parametrize("ptime", [200, 1_000])
async def test_who_asks_for_very_long_packets_hears_shorter_ones(ptime: int) -> None:
    """pjmedia sent none at all: the PBX heard nothing, in a call that was up."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire, rtp_wire.rtp() as sound:
        await world.called(wire, await ready_with(wire, sound.offer(more=[f"a=ptime:{ptime}"])))
        async with asyncio.timeout(sip_wire.PATIENCE_S):
            while len(sound.heard) < 10:
                await asyncio.sleep(0.02)
        assert {len(packet.payload) for packet in sound.heard} == {480}
        world.hang_up(CALL_IN)
        await wire.next_request("BYE")
