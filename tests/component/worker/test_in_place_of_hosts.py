"""What the edge says in the place of a SIP host that is dead, or that nobody answers."""

from __future__ import annotations

import asyncio

from sipmessage import Message, Response
from teletrunk.errors import Refusal

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled
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
