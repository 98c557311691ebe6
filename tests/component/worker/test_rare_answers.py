"""What a PBX may do that few do, and a SIP host does not outlive or should not hear."""

from __future__ import annotations

import asyncio
import socket

import pytest
from sipmessage import URI, Message, Request, Response
from teletrunk.errors import Refusal
from teletrunk_worker.relay import from_host

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled, established
from .port_world import PortWorld, ready


async def test_a_body_that_nobody_asked_for_keeps_no_bye_and_no_cancel_from_the_host(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        await world.host.next()
        cancel = wire.request("CANCEL", "", "x", **{n.replace("-", "_"): invite.headers[n] for n in ("Via", "Call-ID")})
        cancel.headers.set("CSeq", f"{invite.cseq.sequence} CANCEL")
        cancel.headers.set("Content-Type", "application/isup")
        cancel.body = b"xx"
        cancel.headers.set("Content-Length", "2")
        wire.send(bytes(cancel))
        heard = await world.host.next()
        assert isinstance(heard, Request) and (heard.method, heard.body) == ("CANCEL", b"")
        asking.cancel()
        begun, answer = await established(world, wire)
        bye = wire.in_dialog("BYE", begun, answer, Content_Type="application/vq-rtcpxr")
        bye.body = b"x" * 5_000
        bye.headers.set("Content-Length", str(len(bye.body)))
        wire.send(bytes(bye))
        heard = await world.host.next()
        assert isinstance(heard, Request) and (heard.method, heard.body) == ("BYE", b"")


async def test_a_cancel_that_crosses_the_answer_changes_nothing_and_is_200(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, _ = await established(world, wire)
        answers = asyncio.Queue[bytes]()
        wire.received = answers.put_nowait
        wire.cancel(invite)
        assert (await asyncio.wait_for(answers.get(), 5)).startswith(b"SIP/2.0 200 ")
        assert world.host.received.empty() and len(world.port.dialogs) == 1


async def test_a_copy_that_was_spoilt_on_its_way_ends_no_invitation(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next()
        assert isinstance(at_host, Request)
        wire.send(bytes(invite).partition(b"\r\n\r\n")[0])
        wire.send(bytes(invite).replace(b"\r\nMax-Forwards: 70", b"\r\nMax-Forwards: no"))
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).final.code == 200, "both have been read"
        world.host.send(response_to(at_host, 200, "OK", wire, SDP))
        assert (await asking).status == (200, "OK")


async def test_a_refusal_for_a_dead_host_is_repeated_until_it_is_acknowledged(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        invite = await ready(wire, "INVITE")
        wire.received = answers.put_nowait
        wire.send(bytes(invite))
        await world.host.next()
        world.port._transactions._all.clear()  # it has rung for more than half a minute
        world.port.speak_for_dead_host("call1", "a", Refusal("telegram-error", "media process failed"))
        finals: list[bytes] = []
        async with asyncio.timeout(5):
            while len(finals) < 3:
                if (data := await answers.get()).startswith(b"SIP/2.0 500"):
                    finals.append(data)
        assert len(set(finals)) == 1


@pytest.mark.parametrize(("code", "name"), [(180, "Reason"), (486, "Reason"), (486, ""), (200, "Supported")])
async def test_no_answer_that_is_too_long_reaches_a_host(world: PortWorld, code: int, name: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = response_to(invite, code, "x" * (1 if name else 5_000), wire, SDP if code == 200 else b"")
        if name:
            answer.headers.set(name, "a" * 5_000)
        wire.send(bytes(answer))
        data = await asyncio.wait_for(world.host.received.get(), 5)
        assert len(data) <= 4_000 and data.startswith(f"SIP/2.0 {code}".encode())


async def test_an_answer_counts_whatever_else_it_says(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        answer = response_to(invite, 486, "Busy Here", wire)
        for name, value in {
            "Expires": "soon",
            "Session-Expires": "abc",
            "WWW-Authenticate": "NTLM",
            "Retry-After": "x",
        }.items():
            answer.headers.set(name, value)
        wire.send(bytes(answer))
        heard = await world.host.next(lambda message: isinstance(message, Response))
        assert isinstance(heard, Response) and heard.code == 486 and heard.headers.get("WWW-Authenticate") is None


async def test_a_host_asks_for_no_reliable_provisional_answers(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = world.host.invite(await world.registered(wire), "c1")
        invite.headers.set("Supported", "replaces, 100rel, timer, norefersub")
        world.host.send(invite)
        assert (await wire.next_request("INVITE")).headers.getlist("Supported") == ["timer, norefersub"]


async def test_the_end_of_a_fork_that_lost_ends_nothing_else(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, heard = await dialled(world, wire)
        winner = response_to(heard, 200, "OK", wire, SDP)
        loser = response_to(heard, 200, "OK", wire, SDP)
        loser.headers.set("To", loser.headers["To"].replace(";tag=pbx", ";tag=fork"))
        for answer in (winner, loser):
            wire.send(bytes(answer))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        for method in ("ACK", "BYE"):
            assert (await wire.next_request(method)).headers["To"] == loser.headers["To"]
        update = wire.request(
            "UPDATE", "", "x", From=winner.headers["To"], To=heard.headers["From"], Call_ID=heard.call_id
        )
        wire.send(bytes(update))
        got = await world.host.next(lambda message: isinstance(message, Request) and message.method == "UPDATE")
        assert isinstance(got, Request)


async def test_the_inside_port_hears_hosts_only(world: PortWorld) -> None:
    """Any program on the machine reaches it."""
    world.port.is_host = lambda port: port == world.host.port
    async with sip_wire.udp(world.address) as wire:
        binding = await world.registered(wire)
        own, forged = world.host.invite(binding, "own"), world.host.invite(binding, "forged")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(bytes(forged), ("127.0.0.1", world.port.inside_port))
        world.host.send(own)
        assert (await wire.next_request("INVITE")).call_id == "own"


async def test_an_answer_without_a_tag_beside_one_with_a_tag_ends_the_call_and_no_host(world: PortWorld) -> None:
    """pjsip takes it for a fork's, and aborts at one without a tag."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        for code in (183, 180, 200):
            answer = response_to(invite, code, "OK", wire, SDP if code == 200 else b"")
            if code != 183:
                answer.headers.set("To", invite.headers["To"])
            wire.send(bytes(answer))
        heard = [await world.host.next(lambda message: isinstance(message, Response)) for _ in range(2)]
        assert [message.code for message in heard if isinstance(message, Response)] == [183, 500]
        assert "tag" not in (await wire.next_request("ACK")).headers["To"]
        await wire.next_request("BYE")


async def test_who_answers_within_a_dialog_is_its_peer(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        established = response_to(invite, 200, "OK", wire, SDP)
        wire.send(bytes(established))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        for number, tag in enumerate((";tag=other", ""), 2):
            again = world.host.follow_up("INVITE", first, To=established.headers["To"], CSeq=f"{number} INVITE")
            again.uri = URI.parse(f"sip:{wire.local[0]}:{wire.local[1]}")
            again.headers.set("Via", again.headers["Via"] + str(number))
            world.host.send(again)
            answer = response_to(await wire.next_request("INVITE"), 200, "OK", wire, SDP)
            answer.headers.set("To", invite.headers["To"] + tag)
            wire.send(bytes(answer))
            heard = await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
            assert heard.headers["To"] == established.headers["To"]


async def test_a_bye_before_the_answer_is_a_refusal(world: PortWorld) -> None:
    """RFC 3261 15 forbids it: pjsua takes the answer that follows for one to whatever call has the place, and dies."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        ringing = response_to(invite, 180, "Ringing", wire)
        wire.send(bytes(ringing))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        bye = wire.request(
            "BYE", "", "x", From=ringing.headers["To"], To=invite.headers["From"], Call_ID=invite.call_id
        )
        assert (await wire.ask(bye)).final.code == 200
        heard = await world.host.next()
        assert isinstance(heard, Response) and heard.code == 487
        refusal = response_to(invite, 487, "Request Terminated", wire)
        wire.send(bytes(refusal))
        assert (await wire.next_request("ACK")).cseq.sequence == invite.cseq.sequence
        assert world.host.received.empty()


@pytest.mark.parametrize("who", ["the peer", "the host"])
async def test_a_host_hears_the_end_of_its_question_before_the_dialogs(world: PortWorld, who: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        established, again = await asks_again(world, wire, first, invite)
        await wire.next_request("INVITE")
        if who == "the peer":
            bye = wire.request(
                "BYE", "", "x", From=established.headers["To"], To=invite.headers["From"], Call_ID=invite.call_id
            )
        else:
            bye = world.host.follow_up("BYE", first, CSeq="3 BYE", To=established.headers["To"])
            bye.uri = again.uri
        (wire if who == "the peer" else world.host).send(bye if who == "the host" else bytes(bye))  # type: ignore[arg-type]
        heard = await world.host.next()
        assert isinstance(heard, Response) and (heard.code, str(heard.cseq)) == (491, "2 INVITE")
        assert heard.headers.getlist("Via") == [again.headers["Via"]]


async def test_two_who_change_a_call_at_once_both_stand_back(world: PortWorld) -> None:
    """RFC 3261 14.1: each hears the other's 491, the call stays, and who asks once more is heard."""

    def pending(message: Message) -> bool:
        return isinstance(message, Response) and message.code == 491

    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        established, again = await asks_again(world, wire, first, invite)
        names = {"From": established.headers["To"], "To": invite.headers["From"], "Call_ID": invite.call_id}
        for code in (491, 200):
            asking = asyncio.ensure_future(wire.ask(wire.request("INVITE", "", "x", **names)))
            theirs = await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
            assert isinstance(theirs, Request)
            world.host.send(response_to(theirs, code, "Request Pending" if code == 491 else "OK", wire))
            assert (await asking).final.code == code
            if code == 491:
                wire.answer(await wire.next_request("INVITE"), 491, "Request Pending")
                assert str((await world.host.next(pending)).cseq) == str(again.cseq)


async def asks_again(
    world: PortWorld, wire: sip_wire.SipWire, first: Request, invite: Request
) -> tuple[Response, Request]:
    """The host asks within the call that the PBX has taken. The 200 that made it, and the question."""
    established = response_to(invite, 200, "OK", wire, SDP)
    wire.send(bytes(established))
    await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
    again = world.host.follow_up("INVITE", first, CSeq="2 INVITE", To=established.headers["To"])
    again.uri = URI.parse(f"sip:{wire.local[0]}:{wire.local[1]}")
    again.headers.set("Via", first.headers["Via"] + "2")
    world.host.send(again)
    return established, again


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("method", ["NOTIFY", "INFO"])
async def test_who_does_not_answer_a_notify_or_a_digit_keeps_the_call(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch, method: str, answered: bool
) -> None:
    """pjsip hangs up when it has waited for half a minute; the edge says it in the peer's place."""
    monkeypatch.setattr(from_host, "ANSWERED_S", 0.5)
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        lines = {"From": answer.headers["To"], "To": invite.headers["From"], "CSeq": f"7 {method}"}
        notify = world.host.follow_up(method, invite, **lines)
        notify.headers.set("Via", f"SIP/2.0/UDP 127.0.0.1:{world.host.port};branch=z9hG4bKnotify")
        notify.uri = sip_wire.uri_of(f"{method} {invite.headers['Contact'][1:-1]} SIP/2.0\r\n\r\n".encode())
        for _ in range(2):  # it is repeated
            world.host.send(notify)
            asked = await wire.next_request(method)
        if answered:
            wire.answer(asked, 202, "Accepted")
        heard = await world.host.next(lambda message: isinstance(message, Response))
        assert isinstance(heard, Response) and heard.code == (202 if answered else 200)
        assert heard.headers["Via"] == notify.headers["Via"] and heard.cseq == notify.cseq
        await asyncio.sleep(1.0)
        assert world.host.received.empty(), "once"
