"""What the edge says in the place of a SIP host that is dead, or that nobody answers."""

from __future__ import annotations

import asyncio

import pytest
from sipmessage import Message, Request, Response
from teletrunk.errors import Refusal

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled, established
from .port_world import PortWorld


async def test_what_the_edge_says_for_a_dead_host_is_repeated_until_it_is_heard(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, SDP)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        world.port.speak_for_dead_host("c1", "t1", Refusal("telegram-error", "media process failed"))
        first = await wire.next_request("BYE")
        assert bytes(await wire.next_request("BYE")) == bytes(first)
        wire.answer(first, 200, "OK")
        await asyncio.sleep(2.5)  # longer than the next repetition would take
        assert wire.requests.empty()


async def test_a_cancel_for_a_dead_host_waits_for_a_provisional_response_to(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        world.port.speak_for_dead_host("c1", "t1", Refusal("telegram-error", "media process failed"))
        wire.send(bytes(response_to(invite, 180, "Ringing", wire)))
        cancel = await wire.next_request("CANCEL")
        wire.answer(cancel, 200, "OK")
        wire.send(bytes(response_to(invite, 487, "Request Terminated", wire)))
        ack = await wire.next_request("ACK")
        assert ack.headers["Via"] == invite.headers["Via"]


async def test_an_invite_that_nobody_answers_keeps_no_dialog(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        binding = await world.registered(wire)
        for number in range(1_001):
            world.host.send(world.host.invite(binding, f"u{number}"))
            await wire.next_request("INVITE")
            world.port.leg_is_over(f"u{number}", "t1")
        assert len(world.port.dialogs) == 0


async def test_a_place_that_nobody_answers_for_is_given_back_at_once(world: PortWorld) -> None:
    def final(message: Message) -> bool:
        return isinstance(message, Response) and message.code >= 200 and message.cseq.method == "INVITE"

    async with sip_wire.udp(world.address) as wire:
        silent, at_silent = await dialled(world, wire, "silent")
        world.port.leg_is_over("silent", "t1")
        told = await world.host.next(final)
        assert isinstance(told, Response) and told.code == 487 and told.headers["Via"] == silent.headers["Via"]
        world.host.send(world.host.follow_up("ACK", silent, To=told.headers["To"]))
        wire.send(bytes(response_to(at_silent, 180, "Ringing", wire)))  # it was there after all
        cancel = await wire.next_request("CANCEL")
        wire.answer(cancel, 200, "OK")
        wire.send(bytes(response_to(at_silent, 200, "OK", wire, SDP)))
        assert (await wire.next_request("ACK")).call_id == "silent"
        wire.answer(await wire.next_request("BYE"), 200, "OK")
        ringing, at_ringing = await dialled(world, wire, "ringing")
        wire.send(bytes(response_to(at_ringing, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        world.host.send(world.host.follow_up("CANCEL", ringing))
        wire.answer(await wire.next_request("CANCEL"), 200, "OK")
        world.port.leg_is_over("ringing", "t1")  # and the INVITE itself stays unanswered
        told = await world.host.next(final)
        assert isinstance(told, Response) and told.code == 487 and told.call_id == "ringing"
        wire.send(bytes(response_to(at_ringing, 487, "Request Terminated", wire)))
        assert (await wire.next_request("ACK")).headers["Via"] == at_ringing.headers["Via"]
        assert wire.requests.empty() and len(world.port.dialogs) == 0


@pytest.mark.parametrize(("method", "status"), [("INVITE", 200), ("UPDATE", 200), ("INVITE", 488)])
async def test_a_peer_that_has_moved_within_the_call_is_told_there(world: PortWorld, method: str, status: int) -> None:
    """RFC 3261 12.2.1.1: the target is the latest one that was taken; who only asked to move has not."""
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        moved = f"<sip:moved@127.0.0.1:{wire.local[1]};x=y>"
        again = wire.in_dialog(method, invite, answer, Contact=moved)
        asking = asyncio.ensure_future(wire.ask(again))
        at_host = await world.host.next(lambda message: isinstance(message, Request) and message.method == method)
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, status, "So", wire, SDP if status == 200 else b""))
        assert (await asking).final.code == status
        world.port.speak_for_dead_host("call1", "a", Refusal("telegram-error", "media process failed"))
        wanted = moved if status == 200 else invite.headers["Contact"]
        assert f"<{(await wire.next_request('BYE')).uri}>" == wanted


async def test_so_is_one_that_says_so_in_an_answer(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        sent, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, SDP)))
        heard = await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        refresh = world.host.follow_up("UPDATE", sent, To=heard.headers["To"], CSeq="9 UPDATE")
        refresh.uri = sip_wire.uri_of(f"UPDATE {heard.headers['Contact'][1:-1]} SIP/2.0\r\n\r\n".encode())
        world.host.send(refresh)
        taken = response_to(await wire.next_request("UPDATE"), 200, "OK", wire)
        taken.headers.set("To", heard.headers["To"])
        taken.headers.set("Contact", f"<sip:moved@127.0.0.1:{wire.local[1]}>")
        wire.send(bytes(taken))
        await world.host.next(lambda message: isinstance(message, Response) and message.cseq.method == "UPDATE")
        world.port.speak_for_dead_host("c1", "t1", Refusal("telegram-error", "media process failed"))
        assert (await wire.next_request("BYE")).uri.user == "moved"
