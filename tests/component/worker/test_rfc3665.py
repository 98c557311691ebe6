"""RFC 3665's flows that pass this port, by the RFC's numbers: who hears what, in which order."""

from __future__ import annotations

import asyncio

from sipmessage import Request, Response
from teletrunk.errors import Refusal

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, authenticated, ready

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


async def test_2_1_to_2_4_a_registration_its_update_its_list_and_its_end(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        challenged = await wire.ask(wire.request("REGISTER", "", "office"))
        assert challenged.final.code == 401
        registered = await authenticated(wire, "REGISTER", Expires="600")
        assert registered.final.code == 200 and len(registered.header("Contact")) == 1
        updated = await authenticated(wire, "REGISTER", Contact="<sip:bob@192.0.2.4>", Expires="600")
        assert len(updated.header("Contact")) == 2, "2.2: another contact is added"
        question = wire.request("REGISTER", "", "office")
        question.headers.remove("Contact")
        challenge = (await wire.ask(question)).final
        listed = await wire.ask(wire.answer_challenge(question, challenge, "office", "x"))
        assert len(listed.header("Contact")) == 2, "2.3: without a contact it is a question"
        ended = await authenticated(wire, "REGISTER", Contact="*", Expires="0")
        assert ended.final.code == 200 and ended.header("Contact") == []


async def test_2_5_a_registration_that_fails(world: PortWorld) -> None:
    world.door.failure = Refusal("wrong-password")
    async with sip_wire.udp(world.address) as wire:
        assert (await authenticated(wire, "REGISTER")).status == (403, "Wrong password")


async def test_3_1_a_session_through_the_proxy(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request) and at_host.headers["Max-Forwards"] == "69"
        assert len(at_host.headers.getlist("Via")) == 2 and len(at_host.headers.getlist("Record-Route")) == 2
        world.host.send(response_to(at_host, 180, "Ringing", wire))
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        answers = (await asking).answers
        assert [answer.code for answer in answers] == [100, 180, 200]
        assert len(answers[-1].headers.getlist("Via")) == 1, "our hop is off"
        wire.send(bytes(wire.in_dialog("ACK", invite, answers[-1], CSeq=f"{invite.cseq.sequence} ACK")))
        ack = await world.host.next()
        assert isinstance(ack, Request) and ack.method == "ACK"
        bye = wire.in_dialog("BYE", invite, answers[-1])
        ending = asyncio.ensure_future(wire.ask(bye))
        at_host = await world.host.next()
        assert isinstance(at_host, Request) and at_host.method == "BYE"
        world.host.send(response_to(at_host, 200, "OK", wire))
        assert (await ending).final.code == 200


async def test_3_8_no_answer_and_cancel(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, 180, "Ringing", wire))
        wire.cancel(invite)
        cancel = await world.host.next()
        assert isinstance(cancel, Request) and cancel.method == "CANCEL"
        assert cancel.headers.getlist("Via")[0] == at_host.headers.getlist("Via")[0], "on the INVITE's branch"
        world.host.send(response_to(cancel, 200, "OK", wire))
        world.host.send(response_to(at_host, 487, "Request Terminated", wire))
        assert (await asking).final.code == 487
        ack = await world.host.next()
        assert isinstance(ack, Request) and ack.method == "ACK"


async def test_3_9_busy_and_3_11_unavailable(world: PortWorld) -> None:
    for code, phrase in ((486, "Busy Here"), (480, "Temporarily Unavailable")):
        async with sip_wire.udp(world.address) as wire:
            asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE")))
            at_host = await world.host.next()
            assert isinstance(at_host, Request)
            world.host.send(response_to(at_host, code, phrase, wire))
            assert (await asking).status == (code, phrase)
            ack = await world.host.next()
            assert isinstance(ack, Request) and ack.method == "ACK"


async def test_a_call_to_the_pbx_rings_is_answered_and_ended_by_it(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = world.host.invite(await world.registered(wire), "c1")
        world.host.send(invite)
        heard = await wire.next_request("INVITE")
        assert heard.headers["Max-Forwards"] == "69"
        for code, phrase, body in ((180, "Ringing", b""), (200, "OK", SDP)):
            wire.send(bytes(response_to(heard, code, phrase, wire, body)))
            told = await world.host.next()
            assert isinstance(told, Response) and told.code == code and len(told.headers.getlist("Via")) == 1
        bye = wire.request("BYE", "", "pbx", From=f"{heard.headers['To']};tag=pbx", To=heard.headers["From"],
                           Call_ID=heard.call_id)  # fmt: skip
        ending = asyncio.ensure_future(wire.ask(bye))
        at_host = await world.host.next()
        assert isinstance(at_host, Request) and at_host.method == "BYE"
        world.host.send(response_to(at_host, 200, "OK", wire))
        assert (await ending).final.code == 200 and len(world.port.dialogs) == 0
