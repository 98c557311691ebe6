"""Headers in a Contact (RFC 3261 19.1.1) have no say in what is sent there: pjsip would write them into requests."""

from __future__ import annotations

from sipmessage import Request

from tests import sip_wire
from tests.sip_wire import response_to

from .edge_and_host import CALL_IN, CALL_OUT, edge_and_host, ready_with
from .test_descriptions_at_hosts import USUAL

HEADERS = "Subject=a&Route=%3Csip:127.0.0.9%3E&X-Teletrunk-Call=call9/a"


def contact_of(wire: sip_wire.SipWire) -> str:
    return f"<sip:pbx@127.0.0.1:{wire.local[1]};x=y?{HEADERS}>"


def is_plain(request: Request, wire: sip_wire.SipWire) -> bool:
    target = f"sip:pbx@127.0.0.1:{wire.local[1]};x=y"
    named = [name for name in ("Subject", "Route", "X-Teletrunk-Call") if request.headers.get(name)]
    return str(request.uri) == target and not named


async def test_of_who_calls() -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        invite = await ready_with(wire, USUAL)
        invite.headers.set("Contact", contact_of(wire))
        assert (await world.called(wire, invite)).code == 200
        world.hang_up(CALL_IN)
        assert is_plain(await wire.next_request("BYE"), wire)


async def test_of_who_is_called() -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        world.dial(await world.ports.registered(wire))
        answer = response_to(await wire.next_request("INVITE"), 200, "OK", wire, USUAL)
        answer.headers.set("Contact", contact_of(wire))
        wire.send(bytes(answer))
        assert is_plain(await wire.next_request("ACK"), wire)
        world.hang_up(CALL_OUT)
        assert is_plain(await wire.next_request("BYE"), wire)


async def test_of_who_has_registered() -> None:
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        assert (await wire.register("office", "x", Contact=contact_of(wire))).final.code == 200
        world.dial(world.port.registrar.bindings("trunk-office")[0])
        assert is_plain(await wire.next_request("INVITE"), wire)
        world.hang_up(CALL_OUT)
