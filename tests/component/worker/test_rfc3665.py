"""RFC 3665's flows that pass this port, by the RFC's numbers: who hears what, in which order.

With whole services: 3.3 (two passwords) is tests/e2e/test_every_trunk_option.py, 3.10 (a PBX that says nothing) is
tests/conformance/test_telegram_to_sip.py.
"""

from __future__ import annotations

import asyncio

from sipmessage import Request, Response
from teletrunk.errors import Refusal
from teletrunk_sandbox import ports
from teletrunk_worker.sip.transport.locate import Place

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, authenticated, port_world, ready
from .test_pbxs import follow, outbound, registrar, until

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


async def test_3_2_a_session_through_proxies_of_the_pbx(world: PortWorld) -> None:
    """Two of them: their Vias come back in their order, and within the call their routes stand after our own."""
    proxies = ["<sip:127.0.0.1:5070;lr>", "<sip:ss1.atlanta.example.com;lr>"]
    upstream = "SIP/2.0/UDP ss1.atlanta.example.com;branch=z9hG4bK2d4790.1;received=192.0.2.111"
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.headers.setlist("Via", [invite.headers["Via"], upstream])
        invite.headers.setlist("Record-Route", proxies)
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        assert at_host.headers.getlist("Record-Route")[2:] == proxies and len(at_host.headers.getlist("Via")) == 3
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        answer = (await asking).final
        assert [via.partition(";")[0] for via in answer.headers.getlist("Via")][1] == upstream.partition(";")[0]
        bye = world.host.follow_up("BYE", at_host, Route=", ".join(at_host.headers.getlist("Record-Route")))
        bye.headers.set("From", f"{at_host.headers['To']};tag=pbx")
        bye.headers.set("To", at_host.headers["From"])
        bye.headers.set("CSeq", "2 BYE")
        world.host.send(bye)
        heard = await wire.next_request("BYE")
        assert heard.headers.getlist("Route") == proxies, "we have taken ours off"


async def test_3_4_a_registrar_whose_first_address_is_dead() -> None:
    """The PBX has two: who does not answer at one is asked at the other."""

    class Two:
        async def places(self, host: str, port: int | None, transport: str) -> list[Place]:
            return [Place("TCP", ("127.0.0.1", dead), host), Place("UDP", ("127.0.0.1", pbx.port), host)]

    dead = ports.hold()  # nobody listens there
    async with registrar() as pbx, port_world(resolver=Two()) as world:
        follow(world, outbound(pbx.port))
        assert "by UDP" in (await until(world, up=True)).why


async def test_3_5_a_pbx_behind_a_router(world: PortWorld) -> None:
    """Its Via and Contact name an address that nobody can reach: all goes back to where it came from."""
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE", Contact="<sip:alice@10.1.3.33:5060>")
        branch = invite.headers["Via"].partition("branch=")[2]
        invite.headers.set("Via", f"SIP/2.0/UDP 10.1.3.33:5060;rport;branch={branch}")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        via = (await asking).final.via[0]
        assert (via.parameters["received"], via.parameters["rport"]) == ("127.0.0.1", str(wire.local[1]))


async def test_3_6_a_session_with_the_description_in_the_ack(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.body = b""
        invite.headers.remove("Content-Type")
        invite.headers.set("Content-Length", "0")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request) and not at_host.body
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        answer = (await asking).final
        assert b"m=audio" in answer.body, "the offer"
        ack = wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK", Content_Type="application/sdp")
        ack.body = SDP
        ack.headers.set("Content-Length", str(len(SDP)))
        wire.send(bytes(ack))
        ack_at_host = await world.host.next()
        assert isinstance(ack_at_host, Request) and ack_at_host.method == "ACK" and b"m=audio" in ack_at_host.body


async def test_3_7_a_session_whose_address_changes(world: PortWorld) -> None:
    """A re-INVITE with another Contact: the host, which sends the next request, hears of it."""
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        answer = (await asking).final
        wire.send(bytes(wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK")))
        await world.host.next()
        again = wire.in_dialog("INVITE", invite, answer, Contact="<sip:office@127.0.0.1:5099>")
        asking = asyncio.ensure_future(wire.ask(again))
        at_host = await world.host.next()
        assert isinstance(at_host, Request) and at_host.headers["Contact"] == "<sip:office@127.0.0.1:5099>"
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        assert (await asking).final.code == 200


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
