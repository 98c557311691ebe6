"""Requests within a call: what is answered without the host, who may send them, and what a silent host costs."""

from __future__ import annotations

import asyncio

import pytest
from sipmessage import Message, Request, Response
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_worker.policy.admission import Transfer
from teletrunk_worker.server import in_dialog
from teletrunk_worker.sip.dialog import ASKED_AT_ONCE, OFFER_COST

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, ready

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


def is_ok(message: Message) -> bool:
    return isinstance(message, Response) and message.code == 200


async def called(world: PortWorld, wire: sip_wire.SipWire) -> tuple[Request, Response]:
    """A call from the PBX that the host has answered: the INVITE, and its 200 as the PBX saw it."""
    invite = await ready(wire, "INVITE")
    asking = asyncio.ensure_future(wire.ask(invite))
    heard = await world.host.next()
    assert isinstance(heard, Request)
    answer = response_to(heard, 200, "OK", wire, SDP)
    world.host.send(answer)
    return invite, (await asking).final


async def test_options_and_empty_info_are_answered_without_the_host(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        options = (await wire.ask(wire.in_dialog("OPTIONS", begun, answer))).final
        assert options.code == 200 and "INFO" in options.headers["Allow"]
        for method in ("MESSAGE", "NOTIFY", "SUBSCRIBE", "FOO"):
            unknown = (await wire.ask(wire.in_dialog(method, begun, answer))).final
            assert unknown.code in (405, 501) and unknown.headers["Allow"] == options.headers["Allow"]
        assert (await wire.ask(wire.in_dialog("INFO", begun, answer))).final.code == 200
        picture = wire.in_dialog("INFO", begun, answer, Content_Type="application/media_control+xml")
        picture.body = b"<x/>"
        picture.headers.set("Content-Length", "4")
        refused = (await wire.ask(picture)).final
        assert refused.code == 415 and "application/dtmf-relay" in refused.headers["Accept"]
        assert world.host.received.empty()
        digit = wire.in_dialog("INFO", begun, answer, Content_Type="application/dtmf-relay")
        digit.body = b"Signal=5\r\n"
        digit.headers.set("Content-Length", "10")
        wire.send(bytes(digit))
        heard = await world.host.next()
        assert isinstance(heard, Request) and heard.body == b"Signal=5\r\nDuration=160\r\n"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("dtmf-relay", b"Signal=16\r\n"),
        ("dtmf-relay", b"Signal= !\n"),
        ("dtmf-relay", b"Signal=r\r\nDuration=160"),
        ("dtmf-relay", b"signal = hook-flash\r\n"),
        ("dtmf", b"R"),
        ("dtmf", b"16"),
        ("dtmf", b"Flash"),
        ("hook-flash", b""),
        ("hook-flash", b"\r\n"),
    ],
)
async def test_a_flash_is_the_key_that_we_send_ourselves(world: PortWorld, kind: str, body: bytes) -> None:
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        flash = wire.in_dialog("INFO", begun, answer, Content_Type=f"application/{kind}")
        flash.body = body
        flash.headers.set("Content-Length", str(len(body)))
        wire.send(bytes(flash))
        heard = await world.host.next()
        assert isinstance(heard, Request) and heard.body == b"Signal=R\r\nDuration=160\r\n"


async def test_an_offer_in_a_prack_is_one_like_others(world: PortWorld) -> None:
    """RFC 3262 5. A host opens sockets for all sound that it is offered, in codecs that the trunk does not have."""
    world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", codecs=["PCMU"])])
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        invite = await ready(wire, "INVITE")
        wire.send(bytes(invite))
        at_host = await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
        assert isinstance(at_host, Request)
        ringing = response_to(at_host, 180, "Ringing", wire)
        ringing.headers.set("RSeq", "1")
        world.host.send(ringing)
        dialog = world.port.dialogs.find(invite.call_id)
        async with asyncio.timeout(sip_wire.PATIENCE_S):
            while dialog is None or not dialog.answerers:
                await asyncio.sleep(0.01)
        two = SDP.replace(b"AVP 8", b"AVP 0 8") + b"m=audio 4002 RTP/AVP 0\r\n"
        for body, status in ((two, 0), (SDP.replace(b"AVP 8", b"AVP 18"), 488)):
            rack = {"RAck": f"1 {invite.cseq.sequence} INVITE", "Content_Type": "application/sdp"}
            prack = wire.in_dialog("PRACK", invite, ringing, **rack)
            prack.body = body
            prack.headers.set("Content-Length", str(len(body)))
            if status:
                assert (await wire.ask(prack)).final.code == status
            else:
                wire.send(bytes(prack))
                heard = await world.host.next()
                assert isinstance(heard, Request) and heard.method == "PRACK"
                assert b"m=audio 4000 RTP/AVP 0\r\n" in heard.body and b"m=audio 0 " in heard.body
        assert dialog.asked_left <= ASKED_AT_ONCE - OFFER_COST


async def test_an_extension_that_nobody_knows_is_named_in_a_dialog_too(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        for method in ("INVITE", "UPDATE", "INFO", "OPTIONS", "BYE"):
            for header in ("Require", "Proxy_Require"):
                refused = (await wire.ask(wire.in_dialog(method, begun, answer, **{header: "timer, x-y"}))).final
                assert refused.code == 420 and refused.headers["Unsupported"] == "x-y", method
        assert world.host.received.empty() and len(world.port.dialogs) == 1


async def test_from_another_address_the_trunks_password_is_needed(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire, sip_wire.udp(world.address, "127.0.0.31") as elsewhere:
        begun, answer = await called(world, wire)
        bye = elsewhere.in_dialog("BYE", begun, answer)
        challenge = (await elsewhere.ask(bye)).final
        assert challenge.code == 401 and world.host.received.empty()
        others = elsewhere.answer_challenge(bye, challenge, "neighbour", "x")
        assert (await elsewhere.ask(others)).final.code == 403 and world.host.received.empty()
        challenge = (await elsewhere.ask(elsewhere.in_dialog("BYE", begun, answer))).final
        world.door.takes_registrations = False  # while a Worker drains calls must be able to end
        elsewhere.send(bytes(elsewhere.answer_challenge(bye, challenge, "office", "x")))
        heard = await world.host.next()
        assert isinstance(heard, Request) and heard.method == "BYE" and not heard.headers.get("Authorization")


async def test_who_has_registered_from_there_needs_none(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire, sip_wire.udp(world.address, "127.0.0.32") as moved:
        begun, answer = await called(world, wire)
        await world.registered(moved)
        moved.send(bytes(moved.in_dialog("BYE", begun, answer)))
        heard = await world.host.next()
        assert isinstance(heard, Request) and heard.method == "BYE"


@pytest.mark.parametrize(("method", "status"), [("UPDATE", 500), ("BYE", 200), ("INVITE", 500)])
async def test_a_host_that_says_nothing_leaves_nobody_waiting(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch, method: str, status: int
) -> None:
    monkeypatch.setattr(in_dialog, "HOST_ANSWERS_S", 0.2)
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        final = (await wire.ask(wire.in_dialog(method, begun, answer))).final
        assert final.code == status
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == method)
        late = response_to(heard, 488, "Too late", wire)  # type: ignore[arg-type]
        world.host.send(late)
        repeated = wire.in_dialog("OPTIONS", begun, answer)
        assert (await wire.ask(repeated)).final.code in (200, 481)


@pytest.mark.parametrize("direction", ["from the PBX", "to the PBX"])
async def test_a_pbx_that_reconnects_in_a_call_is_told_of_its_end(world: PortWorld, direction: str) -> None:
    async with sip_wire.tcp(world.address) as first:
        binding = await world.registered(first)
        if direction == "from the PBX":
            begun, answer = await called(world, first)
            near, far, target = answer.headers["To"], answer.headers["From"], begun.headers["Contact"]
        else:
            invite = world.host.invite(binding, "c1")
            world.host.send(invite)
            heard = await first.next_request("INVITE")
            answer = response_to(heard, 200, "OK", first, SDP)
            first.send(bytes(answer))
            await world.host.next(is_ok)
            near, far, target = answer.headers["From"], answer.headers["To"], answer.headers["Contact"]
    async with sip_wire.tcp(world.address) as second:
        await world.registered(second)
        bye = world.host.follow_up("BYE", world.host.invite(binding, answer.call_id), From=near, To=far, CSeq="9 BYE")
        bye.uri = sip_wire.uri_of(b"BYE " + target[1:-1].encode() + b" SIP/2.0\r\n\r\n")
        world.host.send(bye)
        assert (await second.next_request("BYE")).call_id == answer.call_id


async def test_sound_that_moves_from_medium_to_medium_does_so_once_a_second(world: PortWorld) -> None:
    """Each move costs a host sockets, that it has few of."""
    head, audio = SDP[: SDP.index(b"m=")], SDP[SDP.index(b"m=") :]
    off = audio.replace(b"4000", b"0")

    async def ask(media: bytes) -> Response:
        again = wire.in_dialog("INVITE", begun, answer, Content_Type="application/sdp")
        again.body = head + media
        again.headers.set("Content-Length", str(len(again.body)))
        asking = asyncio.ensure_future(wire.ask(again))
        hearing = asyncio.ensure_future(
            world.host.next(lambda message: message.headers["CSeq"] == again.headers["CSeq"])
        )
        await asyncio.wait((asking, hearing), return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            world.host.send(response_to(hearing.result(), 200, "OK", wire, SDP))  # type: ignore[arg-type]
        hearing.cancel()
        return (await asking).final

    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        assert [(await ask(audio)).code for _ in range(3)] == [200] * 3
        assert (await ask(off + audio)).code == 200
        assert (await ask(off + audio)).code == 200, "it stays where it is"
        refused = await ask(audio)
        assert refused.code == 500 and refused.headers["Retry-After"] == "1"
        assert world.port.dialogs.find(answer.call_id).sound_place == 1  # type: ignore[union-attr]


async def test_a_transfer_to_a_number_of_any_bytes_is_refused(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        refer = wire.in_dialog("REFER", begun, answer, Refer_To=f"<sip:X@{world.address[0]}>")
        send = wire.send
        wire.send = lambda data: send(data.replace(b"<sip:X@", b"<sip:\xe9@"))  # type: ignore[method-assign]
        assert (await wire.ask(refer)).final.code == 603


@pytest.mark.parametrize(
    ("to", "number"),
    [
        ("tel:+49-30.202", "+4930202"),
        ("<tel:555-010-0200;phone-context=+1>", "+15550100200"),
        ("<tel:(030)-202;phone-context=example.com>", "030202"),
        ("<sip:a-b@127.0.0.1>", "a-b"),
        ("sip:202@127.0.0.1;user=phone", "202"),
    ],
)
async def test_a_transfer_is_to_the_number_without_what_helps_to_read_it(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch, to: str, number: str
) -> None:
    wanted: list[Transfer] = []
    monkeypatch.setattr(world.door, "transfer", wanted.append)
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        assert (await wire.ask(wire.in_dialog("REFER", begun, answer, Refer_To=to))).final.code == 202
        assert (await wire.ask(wire.in_dialog("REFER", begun, answer, Refer_To="tel:-.-"))).final.code == 603
    assert [transfer.number for transfer in wanted] == [number]


async def test_a_bye_that_the_host_does_not_take_ends_nothing(world: PortWorld) -> None:
    """RFC 3261 12.2.2: one whose CSeq is not higher is refused, and the call goes on."""
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        asking = asyncio.ensure_future(wire.ask(wire.in_dialog("BYE", begun, answer)))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        world.host.send(response_to(heard, 500, "Invalid CSeq", wire))  # type: ignore[arg-type]
        assert (await asking).final.code == 500 and len(world.port.dialogs) == 1
        asking = asyncio.ensure_future(wire.ask(wire.in_dialog("BYE", begun, answer)))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        world.host.send(response_to(heard, 200, "OK", wire))  # type: ignore[arg-type]
        assert (await asking).final.code == 200 and not len(world.port.dialogs)


async def test_a_prack_says_what_it_acknowledges_and_that_has_to_be_there(world: PortWorld) -> None:
    """RFC 3262 3. pjsip says 200, or 400."""
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        refused = await wire.ask(wire.in_dialog("PRACK", begun, answer))
        assert refused.status == (400, "Bad Request: RAck is missing")
        assert (await wire.ask(wire.in_dialog("PRACK", begun, answer, RAck="7 1 INVITE"))).final.code == 481
    assert world.host.received.empty()


async def test_keys_go_by_what_the_peer_has_described_last(world: PortWorld) -> None:
    """They were sent by RFC 4733 to a phone that has no such events, to which the PBX had passed the call on."""
    events = SDP.replace(b"AVP 8", b"AVP 8 101") + b"a=rtpmap:101 telephone-event/8000\r\n"
    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        assert world.port.offered_telephone_event("call1", "a")
        for method, body, status, offered in (
            ("INVITE", SDP, 488, True),
            ("INVITE", SDP, 200, False),
            ("UPDATE", b"", 200, False),
            ("UPDATE", events, 200, True),
        ):
            again = wire.in_dialog(method, begun, answer, **({"Content_Type": "application/sdp"} if body else {}))
            again.body = body
            again.headers.set("Content-Length", str(len(body)))
            asking = asyncio.ensure_future(wire.ask(again))
            at_host = await world.host.next(lambda message: message.headers["CSeq"] == again.headers["CSeq"])  # noqa: B023
            assert isinstance(at_host, Request)
            world.host.send(response_to(at_host, status, "So", wire, SDP if status == 200 and body else b""))
            assert (await asking).final.code == status
            assert world.port.offered_telephone_event("call1", "a") is offered, (method, body)


async def test_so_they_do_when_its_ack_has_described_it(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.body = b""
        invite.headers.remove("Content-Type")
        invite.headers.set("Content-Length", "0")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        answer = (await asking).final
        ack = wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK", Content_Type="application/sdp")
        ack.body = SDP + b"a=rtpmap:101 telephone-event/8000\r\n"
        ack.body = ack.body.replace(b"AVP 8", b"AVP 8 101")
        ack.headers.set("Content-Length", str(len(ack.body)))
        wire.send(bytes(ack))
        await world.host.next(lambda message: isinstance(message, Request) and message.method == "ACK")
        assert world.port.offered_telephone_event("call1", "a")
