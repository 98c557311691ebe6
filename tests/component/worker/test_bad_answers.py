"""Answers of a PBX that are written badly: each has its end, which both sides hear of at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest
from sipmessage import Message, Request, Response
from teletrunk_worker.sip import answers, sdp
from teletrunk_worker.sip import message as sip
from teletrunk_worker.sip.message import parse

from tests import sip_wire
from tests.sip_wire import response_to

from .edge_and_host import CALL_OUT, edge_and_host
from .host_dialogs import SDP, dialled
from .port_world import PortWorld

Change = Callable[[bytes], bytes]


def line(name: str, value: str) -> Change:
    """With this line in the place of those of the name."""

    def change(data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        lines = [one for one in head.split(b"\r\n") if not one.lower().startswith(name.lower().encode() + b":")]
        return b"\r\n".join([*lines, f"{name}: {value}".encode()]) + end + body

    return change


def more(text: str) -> Change:
    """With these lines before all others."""
    return lambda data: data.replace(b"\r\n", b"\r\n" + text.encode() + b"\r\n", 1)


def is_final(message: Message) -> bool:
    return isinstance(message, Response) and message.code >= 200 and message.cseq.method == "INVITE"


async def answered(
    world: PortWorld, wire: sip_wire.SipWire, change: Change, code: int = 200
) -> tuple[Response, Request]:
    """What the host hears of such an answer, and the INVITE as the PBX has it."""
    _, invite = await dialled(world, wire)
    answer = response_to(invite, 200, "OK", wire, SDP) if code == 200 else response_to(invite, code, "No", wire)
    wire.send(change(bytes(answer)))
    heard = await world.host.next(is_final)
    assert isinstance(heard, Response)
    return heard, invite


GOES_ON = {
    "contact without its bracket": line("Contact", "<sip:pbx@127.0.0.1"),
    "contact with a space": line("Contact", "<sip:p b x@127.0.0.1>"),
    "contact with headers and no brackets": line("Contact", "sip:pbx@127.0.0.1?Subject=x"),
    "contact of port 99999": line("Contact", "<sip:pbx@127.0.0.1:99999>"),
    "contact of nobody": line("Contact", "<sip:@127.0.0.1>"),
    "empty contact": line("Contact", ""),
    "every contact": line("Contact", "*"),
    "contact with a NUL": line("Contact", '"a\0b" <sip:pbx@127.0.0.1>'),
    "contacts of which none can be read": line("Contact", "<<<, >>>"),
    "route that cannot be read": more("Record-Route: <sip:a b;lr>"),
    "route without its bracket": more("Record-Route: <sip:127.0.0.9;lr"),
    "path that cannot be read": more("Path: <<<"),
    "more routes than any way has": more("\r\n".join(f"Record-Route: <sip:192.0.2.{n};lr>" for n in range(60))),
    "content-length twice": more(f"Content-Length: {len(SDP)}"),
    "call-id twice": more("Call-ID: c1"),
    "a second to": lambda data: data.replace(b"\r\n\r\n", b"\r\nTo: <sip:x@y>;tag=other\r\n\r\n", 1),
    "cseq twice": lambda data: data.replace(b"\r\n\r\n", b"\r\nCSeq: 99 BYE\r\n\r\n", 1),
    "from that cannot be read": line("From", '"x <sip:1@127.0.0.1>'),
    "from with another tag": line("From", "<sip:1@127.0.0.1>;tag=other"),
    "another number in cseq": line("CSeq", "4711 INVITE"),
    "header with a NUL": more("X-A: a\0b"),
    "two spaces before the status": lambda data: data.replace(b"SIP/2.0 ", b"SIP/2.0  ", 1),
    "description without a type": lambda data: data.replace(b"Content-Type: application/sdp\r\n", b"", 1),
}  # fmt: skip


@pytest.mark.parametrize("change", GOES_ON.values(), ids=GOES_ON)
async def test_a_200_counts_whatever_of_it_cannot_be_read(world: PortWorld, change: Change) -> None:
    """Dropped, it was said again for half a minute, and nobody acknowledged it."""
    async with sip_wire.udp(world.address) as wire:
        heard, invite = await answered(world, wire, change)
        assert (heard.code, heard.body) == (200, SDP) and len(world.port.dialogs) == 1
        assert heard.headers["To"] == f"{invite.headers['To']};tag=pbx"
        assert (heard.headers["From"], str(heard.cseq)) == (invite.headers["From"], str(invite.cseq))
        assert heard.headers["Via"] == invite.headers.getlist("Via")[1]


@pytest.mark.parametrize("name", ["contact without its bracket", "empty contact", "every contact"])
async def test_who_does_not_say_where_it_is_is_where_the_invite_has_found_it(world: PortWorld, name: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, invite = await answered(world, wire, GOES_ON[name])
        assert heard.headers["Contact"] == f"<{invite.uri}>"


async def test_of_several_contacts_and_routes_those_that_can_be_read_count(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        contacts = line("Contact", "no address, <sip:pbx@127.0.0.1:5999>")
        route = more("Record-Route: <sip:a b;lr>, <sip:192.0.2.9;lr>")
        heard, _ = await answered(world, wire, lambda data: route(contacts(data)))
        assert heard.headers["Contact"] == "<sip:pbx@127.0.0.1:5999>"
        assert heard.headers.getlist("Record-Route")[0] == "<sip:192.0.2.9;lr>"


async def test_a_via_that_the_answer_has_left_out_is_put_back(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        ours, hosts = invite.headers.getlist("Via")
        answer = response_to(invite, 486, "Busy Here", wire)
        for vias in ([ours], [ours, "no via"]):
            answer.headers.setlist("Via", vias)
            wire.send(bytes(answer))
            heard = await world.host.next(is_final)
            assert isinstance(heard, Response) and heard.code == 486 and heard.headers.getlist("Via") == [hosts]


ENDS = {
    "content-length that is too long": line("Content-Length", "999"),
    "content-length that is none": line("Content-Length", "many"),
    "two content-lengths": more("Content-Length: 5"),
}


@pytest.mark.parametrize("transport", [sip_wire.udp, sip_wire.tcp])
@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
async def test_a_200_whose_description_is_not_whole_ends_the_call_and_says_why(  # type: ignore[no-untyped-def]
    world: PortWorld, change: Change, transport
) -> None:
    if transport is sip_wire.tcp and change is ENDS["content-length that is too long"]:
        return  # the rest may still come
    async with transport(world.address) as wire:
        heard, _ = await answered(world, wire, change)
        assert heard.code == 400 and heard.phrase.startswith("Bad Request: Content-Length ")
        await wire.next_request("ACK")
        assert "Content-Length" in (await wire.next_request("BYE")).headers["Reason"]
        assert len(world.port.dialogs) == 0
        why = world.port.refused_answer("c1", "t1")
        assert why is not None and why.row.id == "bad-request"


@pytest.mark.parametrize("code", [180, 302, 486])
@pytest.mark.parametrize(
    "change", [*(GOES_ON[name] for name in GOES_ON if "description" not in name), *ENDS.values()],
    ids=[*(name for name in GOES_ON if "description" not in name), *ENDS],
)  # fmt: skip
async def test_other_answers_count_too(world: PortWorld, change: Change, code: int) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(change(bytes(response_to(invite, code, "No", wire))))
        heard = await world.host.next(lambda message: isinstance(message, Response))
        assert isinstance(heard, Response) and (heard.code, heard.body) == (code, b"")


async def test_an_answer_whose_headers_have_no_end_counts(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, _ = await answered(world, wire, lambda data: data.removesuffix(b"\r\n"), code=486)
        assert heard.code == 486


@pytest.mark.parametrize(("status", "told"), [("700 Gone", "700 Gone"), ("999", "999")])
async def test_a_status_of_no_class_is_a_failure(world: PortWorld, status: str, told: str) -> None:
    """RFC 3261 8.1.3.2 has none for it; it is final, and nothing says that the call was taken."""
    async with sip_wire.udp(world.address) as wire:
        heard, _ = await answered(world, wire, lambda data: data.replace(b"486 No", status.encode(), 1), code=486)
        assert (heard.code, heard.phrase) == (500, told)


async def test_what_a_bye_is_answered_frees_its_host(world: PortWorld) -> None:
    """Whatever it is, it says that the other side knows."""
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        established = response_to(invite, 200, "OK", wire, SDP)
        wire.send(bytes(established))
        await world.host.next(is_final)
        bye = world.host.follow_up("BYE", first, CSeq="2 BYE", To=established.headers["To"])
        bye.uri = sip_wire.uri_of(f"BYE sip:pbx@127.0.0.1:{wire.local[1]} SIP/2.0\r\n\r\n".encode())
        bye.headers.set("Via", first.headers["Via"] + "2")
        world.host.send(bye)
        at_pbx = await wire.next_request("BYE")
        answer = bytes(response_to(at_pbx, 200, "OK", wire))
        wire.send(more("Content-Length: 77")(line("To", '"x <sip:x@y')(line("From", "")(answer))))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.cseq.method == "BYE")
        assert isinstance(heard, Response) and heard.code == 200


async def test_a_refusal_behind_anothers_200_is_acknowledged_and_kept_from_the_host(world: PortWorld) -> None:
    """A phone that a PBX has rung, too; the host has done with its INVITE."""
    async with sip_wire.udp(world.address) as wire:
        heard, invite = await answered(world, wire, lambda data: data)
        assert heard.code == 200
        late = response_to(invite, 486, "Busy Here", wire)
        late.headers.set("To", f"{invite.headers['To']};tag=other")
        for _ in range(2):
            wire.send(bytes(late))
            ack = await wire.next_request("ACK")
            assert (ack.headers["To"], ack.headers["Via"]) == (late.headers["To"], invite.headers.getlist("Via")[0])
        assert world.host.received.empty() and len(world.port.dialogs) == 1


@pytest.mark.parametrize("tags", [("a", "b", "a"), ("", "b", "a"), ("", "", "a")])
async def test_each_phones_early_description_is_kept_until_it_answers(
    world: PortWorld, tags: tuple[str, str, str]
) -> None:
    """The 200 need not repeat it (RFC 3261 13.2.1), whoever else has spoken meanwhile."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        bodies = [SDP, SDP.replace(b"4000", b"4002") if tags[1] else SDP, b""]
        for code, tag, body in zip((183, 183, 200), tags, bodies, strict=True):
            answer = response_to(invite, code, "OK", wire, body)
            answer.headers.set("To", invite.headers["To"] + (f";tag={tag}" if tag else ""))
            wire.send(bytes(answer))
        heard = await world.host.next(is_final)
        assert isinstance(heard, Response) and (heard.code, heard.body) == (200, SDP)


async def test_a_200_minutes_after_a_cancel_is_acknowledged_and_ended(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a PBX that rings on and has not heard it; its dialogs are forgotten in their time."""
    async with sip_wire.udp(world.address) as wire:
        invite, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        world.host.send(world.host.follow_up("CANCEL", invite))
        await wire.next_request("CANCEL")
        world.port.leg_is_over("c1", "t1")
        for dialog in world.port.dialogs._all.values():
            dialog.finished_at -= 120.0
        world.port.dialogs._looked_at = 0.0
        world.host.send(world.host.invite(world.port.registrar.bindings("trunk-office")[0], "c2"))
        other = await wire.next_request("INVITE")
        wire.send(bytes(response_to(heard, 200, "OK", wire, SDP)))
        assert (await wire.next_request("ACK")).call_id == "c1"
        wire.answer(await wire.next_request("BYE"), 200, "OK")
        for dialog in world.port.dialogs._all.values():
            dialog.finished_at -= 120.0 if dialog.finished_at else 0.0
        world.port.dialogs._looked_at = 0.0
        world.host.send(world.host.invite(world.port.registrar.bindings("trunk-office")[0], "c3"))
        await wire.next_request("INVITE")
        assert world.port.dialogs.find("c1") is None and world.port.dialogs.find(other.call_id) is not None


ILLEGIBLE = {
    "nothing supported": "Supported: ,",
    "something and nothing supported": "Supported: timer,,path",
    "nothing allowed": "Allow: INVITE,,ACK",
    "nothing required": "Require: ,",
    "refresher behind nothing": "Session-Expires: 1800;;refresher=uac",
    "refresher and half a quote": 'Session-Expires: 90;x="',
    "route of another grammar": "Record-Route: <sip:a[b@127.0.0.9;lr>",
    "parameter of a route": "Record-Route: <sip:127.0.0.9>;a=b=c;lr",
    "Max-Forwards with more": "Max-Forwards: 70;x",
    "RSeq with more": "RSeq: 5;x",
    "type with nothing": "Content-Type: application/sdp;",
    "type with half a parameter": "Content-Type: application/sdp;charset",
    "parameter of To": "To: {to};tag=pbx;x=",
    "nothing in To": "To: {to};tag=pbx;;",
    "braces in To": "To: {to};tag=pbx;x={y}",
    "contact of another grammar": "Contact: <sip:a[b@127.0.0.1>",
    "contact with a NUL": "Contact: <sip:a%00b@127.0.0.1>",
}


async def test_what_a_host_cannot_read_does_not_reach_it() -> None:
    """pjsip drops such an answer without a word: the edge had a call that nobody acknowledged, nor ended ever."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        await world.ports.registered(wire)
        for name, text in ILLEGIBLE.items():
            world.dial(world.port.registrar.bindings("trunk-office")[0])
            invite = await wire.next_request("INVITE")
            header, _, value = text.replace("{to}", invite.headers["To"]).partition(": ")
            wire.send(line(header, value)(bytes(response_to(invite, 200, "OK", wire, SDP))))
            assert (await world.event("answered", "ended"))["event"] == "answered", name
            assert (await wire.next_request("ACK")).headers["To"] == f"{invite.headers['To']};tag=pbx", name
            world.hang_up(CALL_OUT)
            wire.answer(await wire.next_request("BYE"), 200, "OK")
            await world.event("ended")
            world.port.leg_is_over(*CALL_OUT.split("/"))


async def test_a_tag_that_no_host_can_read_ends_the_call(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        for code in (180, 200):
            tagged = line("To", f"{invite.headers['To']};tag=a@b:c")
            wire.send(tagged(bytes(response_to(invite, code, "OK", wire, SDP if code == 200 else b""))))
        heard = await world.host.next(is_final)
        assert isinstance(heard, Response) and heard.phrase == "Bad Request: To has a tag that cannot be read"
        assert heard.headers["To"].endswith(";tag=ended")
        for method in ("ACK", "BYE"):
            assert (await wire.next_request(method)).headers["To"].endswith(";tag=a@b:c")


async def test_a_200_that_its_host_never_acknowledges_is_ended(world: PortWorld) -> None:
    """A host drops what its parser cannot read, without a word: the PBX says it in vain, and would talk to nobody."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = bytes(response_to(invite, 200, "OK", wire, SDP))
        for waited_s, code in ((0, 200), (0, 200), (0, 200), (0, 200), (0, 200), (7, 500)):
            if (dialog := world.port.dialogs.find("c1")) is not None:
                dialog.established_at -= waited_s
            wire.send(answer)
            heard = await world.host.next(is_final)
            assert isinstance(heard, Response) and heard.code == code
        await wire.next_request("ACK")
        wire.answer(await wire.next_request("BYE"), 200, "OK")
        wire.send(answer)
        await wire.next_request("ACK")
        assert world.host.received.empty() and len(world.port.dialogs) == 0
        why = world.port.refused_answer("c1", "t1")
        assert why is not None and why.row.id == "media-failed"


async def test_a_leg_that_is_over_before_its_host_has_read_the_200_is_ended(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, _ = await answered(world, wire, lambda data: data)
        assert heard.code == 200
        world.port.leg_is_over("c1", "t1")
        await wire.next_request("ACK")
        await wire.next_request("BYE")
        assert len(world.port.dialogs) == 0


async def test_a_copy_of_the_200_that_was_spoilt_ends_no_call(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, invite = await answered(world, wire, lambda data: data)
        again = bytes(response_to(invite, 200, "OK", wire, SDP))
        wire.send(line("Content-Length", "999")(again))
        wire.send(again)
        copy = await world.host.next(is_final)
        assert isinstance(copy, Response) and (copy.code, copy.body) == (heard.code, heard.body)
        assert wire.requests.empty() and len(world.port.dialogs) == 1


@pytest.mark.parametrize("routes", [37, 39, 60])
async def test_however_many_routes_an_answer_has_the_host_speaks_through_us(world: PortWorld, routes: int) -> None:
    """It would speak to whatever the peer calls its Contact, and look for the name in its only thread."""
    async with sip_wire.udp(world.address) as wire:
        recorded = "\r\n".join(["Record-Route: <sip:127.0.0.9;lr>"] * routes)
        heard, _ = await answered(world, wire, more(recorded))
        assert f"127.0.0.1:{world.port.inside_port}" in heard.headers.getlist("Record-Route")[-1]


@pytest.mark.parametrize("parameters", [";lr=", ";lr;x=", ";lr;note=50%off"])
async def test_a_route_that_pjsip_reads_stays(world: PortWorld, parameters: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, _ = await answered(world, wire, more(f"Record-Route: <sip:127.0.0.9{parameters}>"))
        assert heard.headers.getlist("Record-Route")[0] == f"<sip:127.0.0.9{parameters}>"


async def test_a_provisional_answer_to_a_refresh_ends_nothing_whatever_its_length(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, SDP)))
        heard = await world.host.next(is_final)
        again = world.host.follow_up("INVITE", first, CSeq="2 INVITE", To=heard.headers["To"])
        again.uri = sip_wire.uri_of(f"INVITE sip:pbx@127.0.0.1:{wire.local[1]} SIP/2.0\r\n\r\n".encode())
        again.headers.set("Via", first.headers["Via"] + "2")
        world.host.send(again)
        refresh = await wire.next_request("INVITE")
        for code in (100, 183):
            wire.send(line("Content-Length", "5")(bytes(response_to(refresh, code, "Wait", wire))))
        wire.send(bytes(response_to(refresh, 200, "OK", wire, SDP)))
        final = await world.host.next(is_final)
        assert isinstance(final, Response) and final.code == 200


async def test_nobody_answers_an_invite_that_he_has_not_seen(world: PortWorld) -> None:
    """Our hop's branch was a hash of what an answer says itself: who knew a Call-ID could take the call, or end it."""
    async with sip_wire.udp(world.address) as wire, sip_wire.udp(world.address) as stranger:
        _, invite = await dialled(world, wire)
        for code in (486, 200):
            forged = response_to(invite, code, "Mine", stranger, SDP if code == 200 else b"")
            seed = f"z9hG4bKguess|127.0.0.1|5|{forged.headers['Call-ID']}|{forged.cseq.sequence}"
            guess = "z9hG4bK-tt-" + hashlib.sha256(seed.encode()).hexdigest()[:24]
            forged.headers.setlist(
                "Via",
                [f"SIP/2.0/UDP 127.0.0.1:5060;branch={guess}", "SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bKguess"],
            )
            stranger.send(bytes(forged))
        wire.send(bytes(response_to(invite, 180, "Ringing", wire)))
        heard = await world.host.next(lambda message: isinstance(message, Response))
        assert isinstance(heard, Response) and heard.code == 180


async def test_an_early_description_is_used_when_the_200_carries_something_else(world: PortWorld) -> None:
    """As SIP-I's gateways do, whose ANM is in the 200."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 183, "Session Progress", wire, SDP)))
        answer = response_to(invite, 200, "OK", wire, b"isup")
        answer.headers.set("Content-Type", "application/isup")
        wire.send(bytes(answer))
        heard = await world.host.next(is_final)
        assert (heard.headers.get("Content-Type"), heard.body) == ("application/sdp", SDP)


async def test_an_answer_of_a_name_that_is_too_long_counts(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        heard, _ = await answered(world, wire, line("Contact", f'"{"x" * 9_000}" <sip:pbx@127.0.0.1>'))
        assert heard.code == 200


def test_what_a_stranger_lists_costs_little() -> None:
    """Nobody has asked for it, and it is read before that is known."""
    head = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
    head += "Call-ID: x\r\nCSeq: 1 INVITE\r\n"
    data = (head + ("Contact: " + ",".join(["x:a"] * 250) + "\r\n") * 62 + "\r\n").encode()

    def cost_s() -> float:
        message = parse(data)
        assert isinstance(message, sip.Response)
        began = time.thread_time()
        answers.tidy(message)
        return time.thread_time() - began

    assert min(cost_s() for _ in range(5)) < 0.01


def test_media_that_an_answer_left_out_have_no_address_of_ours() -> None:
    offer = SDP.replace(b"127.0.0.1", b"192.0.2.1") + b"m=video 0 RTP/AVP 31\r\nc=IN IP4 192.0.2.1\r\n"
    whole = sdp.in_its_places(SDP.replace(b"127.0.0.1", b"198.51.100.7"), offer)
    assert b"m=video 0" in whole and b"192.0.2.1" not in whole and not sdp.objection(whole)


def test_only_a_medium_s_kind_is_written_small() -> None:
    body = SDP.replace(b"m=audio", b"m=AUDIO") + b"a=fmtp:8 stream=ABC\r\n"
    assert b"m=audio 4000" in sdp.needed(body) and b"stream=ABC" in sdp.needed(body)
