"""Addresses that SIP may have and pjsip does nothing with: sips: ones on a way that is not TLS all along, and tel:."""

from __future__ import annotations

import pytest
from sipmessage import URI, Request
from teletrunk_worker.sip.uri import as_written

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import dialled
from .port_world import PortWorld, is_invite
from .sip_host_world import RtpSocket, sip_host_world
from .test_in_dialog import SDP, is_ok

_AT_HOST = "sip:pbx@{0}:{1};teletrunk-sips"
_AT_PBX = "sips:pbx@{0}:{1}"


@pytest.mark.parametrize(
    ("target", "at_host"),
    [
        ("tel:+15550100;phone-context=x;isub=1", "sip:+15550100@127.0.0.1"),
        ("sips:+15550100@{0}:{1}", "sip:+15550100@127.0.0.1"),
        ("sips:%40name@{0}:{1};transport=tcp", "sip:%40name@127.0.0.1"),
    ],
)
async def test_a_number_is_called_by_any_scheme(world: PortWorld, target: str, at_host: str) -> None:
    uri = target.format(*world.address)
    async with sip_wire.udp(world.address) as wire:
        first = wire.request("INVITE", "100", "office")
        again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
        given = again.headers["Authorization"].replace(f'uri="{first.uri}"', f'uri="{uri}"')
        again.headers.set("Authorization", given)
        wire.send(bytes(again).replace(str(again.uri).encode(), uri.encode(), 1))
        heard = (await world.host.received.get()).split(b" ")[1].decode()
        assert heard == at_host
        assert world.door.admitted[0].called == ("@name" if "name" in uri else "+15550100")


async def test_a_pbx_whose_contact_is_sips_hears_of_the_end_of_its_call(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        first = wire.request("INVITE", "100", "office", Contact=f"<{_AT_PBX.format(*wire.local)}?x=y>")
        wire.send(bytes(wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")))
        heard = await world.host.next(is_invite)
        assert isinstance(heard, Request)
        target = _AT_HOST.format(*wire.local)
        assert heard.headers["Contact"] == f"<{target}>"
        world.host.send(response_to(heard, 200, "OK", wire, SDP))
        named = {"From": f"{heard.headers['To']};tag=pbx", "To": heard.headers["From"], "CSeq": "9 BYE"}
        bye = world.host.follow_up("BYE", heard, **named)
        bye.uri = URI.parse(target)
        world.host.send(bye)
        assert str((await wire.next_request("BYE")).uri) == _AT_PBX.format(*wire.local)


async def test_an_answer_with_a_sips_contact_is_acknowledged_and_its_call_ended(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        for tag in ("pbx", "fork"):  # the second one has lost: the port itself ends it
            answer = response_to(invite, 200, "OK", wire, SDP)
            answer.headers.set("To", f"{invite.headers['To']};tag={tag}")
            answer.headers.set("Contact", f"<{_AT_PBX.format(*wire.local)}>")
            wire.send(bytes(answer))
        assert (await world.host.next(is_ok)).headers["Contact"] == f"<{_AT_HOST.format(*wire.local)}>"
        for method in ("ACK", "BYE"):
            assert str((await wire.next_request(method)).uri) == _AT_PBX.format(*wire.local)


async def test_a_host_speaks_to_what_the_port_makes_of_a_sips_contact() -> None:
    async with sip_host_world() as world:
        world.contact = ";user=phone;x=1;teletrunk-sips"
        peer = RtpSocket("127.0.0.1")
        await world.call(("127.0.0.1", peer.port), "127.0.0.1")
        await world.hang_up()
        peer.close()
        target = world.said.split(" ")[1]
        assert as_written(target).startswith("sips:2@127.0.0.1:") and as_written(target).endswith(";user=phone;x=1")
