"""What the edge passes to a SIP host and from one, what it keeps from it, and what it says in its place."""

from __future__ import annotations

import asyncio

import pytest
from sipmessage import URI, Message, Request, Response
from teletrunk.errors import Refusal
from teletrunk_worker.relay.routes import CALL_HEADER
from teletrunk_worker.sip.transaction import server as transactions

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled, established
from .port_world import PortWorld, authenticated, ready


@pytest.mark.parametrize("transport", [sip_wire.udp, sip_wire.tcp])
@pytest.mark.parametrize("padding", [3_900, 4_100, 4_300, 4_500, 5_000, 20_000, 58_000])
async def test_a_message_that_a_host_cannot_take_is_refused(world: PortWorld, transport, padding: int) -> None:  # type: ignore[no-untyped-def]
    async with transport(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.headers.set("X-Padding", "p" * padding)
        assert (await wire.ask(invite)).status == (513, "Message Too Large")
    assert world.door.admitted == [] and world.host.received.empty()


@pytest.mark.parametrize(("name", "count"), [("From", 400), ("Contact", 400), ("Record-Route", 300)])
async def test_a_message_is_measured_as_pjsip_writes_it(world: PortWorld, name: str, count: int) -> None:
    """With `%23` for each `#`: the edge could not read a host's BYE, and the PBX had none."""
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        route = f"<sip:{'#' * count}@192.0.2.1;lr>"
        invite.headers.setlist(name, [route] * 4 if name == "Record-Route" else [f"{route};tag=1"])
        assert (await wire.ask(invite)).final.code in (400, 513)
    assert world.door.admitted == []


async def test_a_host_gets_what_it_can_read_and_nothing_else(world: PortWorld) -> None:
    useless = {
        "Expires": "300", "Retry-After": "abc", "Event": "", "Accept": ",,,", "Replaces": "a;to-tag=b;from-tag=c",
        "Refer-To": "<sip:x@y>", "Route": "<sip:elsewhere;lr>", "Subscription-State": "?", "Date": "yesterday",
    }  # fmt: skip
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        for name, value in useless.items():
            invite.headers.set(name, value)
        invite.headers.set("Supported", ",")
        invite.headers.set("Session-Expires", "1800;refresher=uas;x=")
        invite.headers.set("Record-Route ", "<sip:proxy.example;lr>")
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next()
        asking.cancel()
    assert not {name.lower() for name in useless} & {name.lower() for name in heard.headers.keys()}  # noqa: SIM118
    assert heard.headers.get("Supported") is None and heard.headers["Session-Expires"] == "1800;refresher=uas"
    routes = heard.headers.getlist("Record-Route")
    assert [f":{world.port.inside_port};" in routes[0], f":{world.port.port};" in routes[1]] == [True, True]
    assert routes[2:] == ["<sip:proxy.example;lr>"], "a blank before the colon is no way round the edge"


async def test_our_own_header_comes_first_and_no_other_is_believed(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.headers.set("X-Teletrunk-Call ", "forged/a")
        asking = asyncio.ensure_future(wire.ask(invite))
        data = await asyncio.wait_for(world.host.received.get(), 5)
        asking.cancel()
    lines = data.decode().split("\r\n")
    assert lines[1] == f"{CALL_HEADER}: call1/a"
    assert len([line for line in lines if line.lower().startswith("x-teletrunk-call")]) == 1
    assert not any(line.lower().startswith("authorization") for line in lines)
    assert len(data) <= 4_000


@pytest.mark.parametrize("number", ["200", "#31#200", "office", "+4930*1"])
async def test_a_number_on_the_pbx_is_rung_at_its_contact(world: PortWorld, number: str) -> None:
    """Also one that is the contact's own login; its CANCEL goes there, too."""
    async with sip_wire.udp(world.address) as wire:
        binding = await world.registered(wire)
        invite = world.host.invite(binding, "c1", user=number)
        world.host.send(invite)
        heard = await wire.next_request("INVITE")
        contact = URI.parse(binding.contact.uri.text)
        assert str(heard.uri) == str(contact).replace(f"{contact.user}@", f"{number.replace('#', '%23')}@")
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        world.host.send(world.host.follow_up("CANCEL", invite))
        assert str((await wire.next_request("CANCEL")).uri) == str(heard.uri)


async def test_a_provisional_answers_description_stays_outside(world: PortWorld) -> None:
    """pjsua aborts when one that it cannot use is crossed by a CANCEL and a 200."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 183, "Session Progress", wire, SDP.replace(b"AVP 8", b"AVP 18"))))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code == 183)
        assert heard.body == b"" and heard.headers.get("Content-Type") is None
        reliable = response_to(invite, 183, "Session Progress", wire, b"xx")
        reliable.headers.set("Content-Type", "message/sipfrag")
        reliable.headers.set("Require", "100rel")
        wire.send(bytes(reliable))
        assert (await world.host.next(lambda message: isinstance(message, Response))).body == b""


@pytest.mark.parametrize(
    ("body", "pad", "told"),
    [
        (SDP.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 " + b"1" * 254), 0, 488),
        (SDP.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 pbx.example"), 0, 488),
        (SDP + b"a=x\r\n" * 900, 0, 513),
    ],
)
async def test_an_answer_that_a_host_cannot_take_is_ended_by_the_edge(
    world: PortWorld, body: bytes, pad: int, told: int
) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, body, pad)))
        await wire.next_request("ACK")
        bye = await wire.next_request("BYE")
        wire.answer(bye, 200, "OK")
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code >= 200)
        assert isinstance(heard, Response) and heard.code == told and heard.body == b""
    assert len(world.port.dialogs) == 0


async def test_answers_within_a_dialog_are_looked_at_too(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        for number, (method, told) in enumerate((("UPDATE", 488), ("INVITE", 481)), 1):
            ours = world.host.invite(await world.registered(wire), "x", number=number)
            ours.method, ours.uri = method, URI.parse(f"sip:pbx@{wire.local[0]}:{wire.local[1]}")
            ours.headers.set("CSeq", f"{number} {method}")
            for name, value in (
                ("Call-ID", invite.call_id),
                ("From", answer.headers["To"]),
                ("To", invite.headers["From"]),
            ):
                ours.headers.set(name, value)
            world.host.send(ours)
            heard = await wire.next_request(method)
            wire.send(bytes(response_to(heard, 200, "OK", wire, SDP.replace(b"IP4 127.0.0.1\r\nt=", b"IP4 ::1\r\nt="))))
            said = await world.host.next(lambda message: isinstance(message, Response))
            assert isinstance(said, Response) and said.code == told and said.body == b""


async def test_an_answer_that_is_long_only_by_its_headers_is_cut_to_what_a_dialog_needs(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, SDP, pad=5_000)))
        data = await asyncio.wait_for(world.host.received.get(), 5)
        heard = Message.parse(data)
        assert isinstance(heard, Response) and heard.code == 200 and heard.body == SDP and len(data) <= 4_000
        assert heard.headers.getlist("Record-Route") and heard.headers.get("X-Padding") is None


async def test_no_peer_learns_the_name_of_our_machine(world: PortWorld) -> None:
    """pjsip puts it into its Warnings (RFC 3261 20.43)."""
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        refusal = response_to(at_host, 488, "Not Acceptable Here", wire)
        warnings = ['305 machine-7.corp "SDP: 1 for 2"', '399 [fd00::7]:5070 "a, b", 307 m "c"']
        refusal.headers.setlist("Warning", warnings)
        world.host.send(refusal)
        told = (await asking).final.headers.getlist("Warning")
    assert told == ['305 teletrunk "SDP: 1 for 2"', '399 teletrunk "a, b", 307 teletrunk "c"']


async def test_a_route_that_is_no_sip_address_never_reaches_a_host(world: PortWorld) -> None:
    """pjsua aborts when its ACK has nowhere to go (sip_inv.c, inv_send_ack)."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = response_to(invite, 200, "OK", wire, SDP)
        answer.headers.add("Record-Route", "<urn:x:y>;tag=1")
        wire.send(bytes(answer))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code >= 200)
        routes = heard.headers.getlist("Record-Route")
        assert routes and all(route.startswith("<sip:") for route in routes)


@pytest.mark.parametrize("line", ["no header", "Subject: a\rRecord-Route: <sip:other;lr>"])
async def test_an_answer_counts_whatever_lines_it_has_that_are_none(world: PortWorld, line: str) -> None:
    """The host hears nothing of them: its parser might see a header there."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = bytes(response_to(invite, 200, "OK", wire, SDP))
        wire.send(answer.replace(b"\r\nFrom:", b"\r\n" + line.encode() + b"\r\nFrom:", 1))
        async with asyncio.timeout(sip_wire.PATIENCE_S):
            while not (heard := await world.host.received.get()).startswith(b"SIP/2.0 200 "):
                pass
        assert b"no header" not in heard and b"sip:other" not in heard


@pytest.mark.parametrize("who", ["the host", "we in its place"])
async def test_a_proxy_that_routes_strictly_finds_itself_in_the_request_uri(world: PortWorld, who: str) -> None:
    """RFC 3261 16.6, step 6: one of RFC 2543's time, without `lr`; the target stands behind all others."""
    async with sip_wire.udp(world.address) as wire:
        sent, invite = await dialled(world, wire)
        answer = response_to(invite, 200, "OK", wire, SDP)
        recorded = ["<sip:far@192.0.2.6;lr>", "<sip:near@192.0.2.5;x=y>", *invite.headers.getlist("Record-Route")]
        answer.headers.setlist("Record-Route", recorded)
        wire.send(bytes(answer))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        if who == "the host":
            bye = world.host.follow_up("BYE", sent, From=sent.headers["From"], To=heard.headers["To"], CSeq="9 BYE")
            bye.uri = sip_wire.uri_of(f"BYE {answer.headers['Contact'][1:-1]} SIP/2.0\r\n\r\n".encode())
            bye.headers.setlist("Route", heard.headers.getlist("Record-Route")[::-1])
            world.host.send(bye)
        else:
            world.port.speak_for_dead_host("c1", "t1", Refusal("media-failed"))
        ended = await wire.next_request("BYE")
        assert str(ended.uri) == "sip:near@192.0.2.5;x=y"
        assert ended.headers.getlist("Route") == ["<sip:far@192.0.2.6;lr>", answer.headers["Contact"]]


async def test_a_200_that_crosses_our_cancel_is_acknowledged_and_ended(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        world.host.send(world.host.follow_up("CANCEL", invite))
        cancel = await wire.next_request("CANCEL")
        ok = response_to(heard, 200, "OK", wire, SDP)
        wire.send(bytes(ok))
        wire.answer(cancel, 200, "OK")
        ack, bye = await wire.next_request("ACK"), await wire.next_request("BYE")
        assert ack.cseq.sequence == heard.cseq.sequence and bye.headers["To"].endswith(";tag=pbx")
        wire.send(bytes(ok))  # it had not heard the ACK
        assert (await wire.next_request("ACK")).headers["Via"] == ack.headers["Via"]
        wire.answer(bye, 200, "OK")
        told = await world.host.next(
            lambda message: isinstance(message, Response) and message.code >= 200 and message.cseq.method == "INVITE"
        )
        assert isinstance(told, Response) and told.code == 487
        world.host.send(world.host.follow_up("ACK", invite, To=told.headers["To"]))
        world.host.send(world.host.invite(await world.registered(wire), "c2"))
        await wire.next_request("INVITE")
        assert wire.requests.empty(), "the host's ACK of what it was told is not for the PBX"


async def test_a_phone_that_answers_after_another_one_is_told_who_has_the_call(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        elsewhere = 'SIP;cause=200;text="Call completed elsewhere"'
        world.host.send(world.host.follow_up("CANCEL", invite, Reason=elsewhere))
        cancel = await wire.next_request("CANCEL")
        wire.send(bytes(response_to(heard, 200, "OK", wire, SDP)))
        wire.answer(cancel, 200, "OK")
        await wire.next_request("ACK")
        bye = await wire.next_request("BYE")
        wire.answer(bye, 200, "OK")
        assert bye.headers.getlist("Reason") == [elsewhere]


async def test_requests_of_a_dialog_that_a_host_cannot_take_are_refused_and_the_call_goes_on(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        for method in ("INVITE", "UPDATE"):
            bad = wire.in_dialog(method, invite, answer, Content_Type="application/sdp")
            bad.body = SDP.replace(b"127.0.0.1\r\nt=", b"pbx.example\r\nt=")
            bad.headers.set("Content-Length", str(len(bad.body)))
            assert (await wire.ask(bad)).final.code == 488
            large = wire.in_dialog(method, invite, answer, X_Padding="p" * 5_000)
            assert (await wire.ask(large)).final.code == 513
        assert world.host.received.empty()
        bye = asyncio.ensure_future(wire.ask(wire.in_dialog("BYE", invite, answer)))
        heard = await world.host.next()
        assert isinstance(heard, Request) and heard.method == "BYE"
        world.host.send(response_to(heard, 200, "OK", wire))
        assert (await bye).final.code == 200
        for method in ("INVITE", "UPDATE", "INFO", "OPTIONS"):
            assert (await wire.ask(wire.in_dialog(method, invite, answer))).final.code == 481
        assert world.host.received.empty(), "nothing of a call that is over reaches its host"


async def test_requests_of_one_dialog_take_no_places_from_others(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is answered from the request alone takes none at all; a BYE goes through whatever was before it."""
    monkeypatch.setattr(transactions, "MOST_OF_DIALOG", 3)
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        before = len(world.port._transactions)
        for _ in range(5):
            assert (await wire.ask(wire.in_dialog("OPTIONS", invite, answer))).final.code == 200
            assert (await wire.ask(wire.in_dialog("PUBLISH", invite, answer))).final.code == 405
        assert len(world.port._transactions) == before
        waiting = [asyncio.ensure_future(wire.ask(wire.in_dialog("UPDATE", invite, answer))) for _ in range(3)]
        for _ in waiting:
            await world.host.next()
        refused = (await wire.ask(wire.in_dialog("UPDATE", invite, answer))).final
        assert (refused.code, refused.headers["Retry-After"]) == (503, "5")
        assert (await authenticated(wire, "REGISTER")).final.code == 200, "the share is the dialog's"
        bye = asyncio.ensure_future(wire.ask(wire.in_dialog("BYE", invite, answer)))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        assert isinstance(heard, Request)
        world.host.send(response_to(heard, 200, "OK", wire))
        assert (await bye).final.code == 200
        await asyncio.gather(*waiting)
