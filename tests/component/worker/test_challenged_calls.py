"""A PBX that asks our own calls for a password (RFC 3261 22): what of the answer is said when."""

from __future__ import annotations

import re

from sipmessage import Message, Response
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import PbxAddress, TrunkOptions

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled
from .port_world import PortWorld

CHALLENGE = 'Digest realm="pbx", nonce="abc", algorithm=MD5, qop="auth"'


def is_answer(message: Message) -> bool:
    return isinstance(message, Response) and message.code > 100


def with_account(world: PortWorld) -> None:
    options = TrunkOptions(pbx=PbxAddress(username="gw"))
    world.port.trunks.put(
        [pb.TrunkSettings(trunk_id="trunk-office", login="office", options=options, pbx_password="s3cret")]
    )


async def test_an_answer_is_counted_once_for_each_request_and_repeated_in_its_ack(world: PortWorld) -> None:
    """RFC 7616 3.4: `nc` is the number of requests with this nonce; a strict server refuses one that was left out."""
    with_account(world)
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        refused = response_to(invite, 401, "Unauthorized", wire)
        refused.headers.set("WWW-Authenticate", CHALLENGE)
        wire.send(bytes(refused))
        heard = await world.host.next(is_answer)
        world.host.send(world.host.follow_up("ACK", first, To=heard.headers["To"]))
        assert (await wire.next_request("ACK")).headers.get("Authorization") is None
        again = world.host.invite(world.port.registrar.bindings("trunk-office")[0], "c1", number=2)
        world.host.send(again)
        invite = await wire.next_request("INVITE")
        assert re.findall(r"nc=(\w+)", invite.headers["Authorization"]) == ["00000001"]
        answer = response_to(invite, 200, "OK", wire, SDP)
        wire.send(bytes(answer))
        heard = await world.host.next(is_answer)
        for method, number in (("ACK", 2), ("BYE", 3)):
            request = world.host.follow_up(method, again, To=heard.headers["To"], CSeq=f"{number} {method}")
            request.uri = sip_wire.uri_of(f"{method} sip:pbx@127.0.0.1:{wire.local[1]} SIP/2.0\r\n\r\n".encode())
            request.headers.set("Via", again.headers["Via"] + method)
            world.host.send(request)
            shown = (await wire.next_request(method)).headers["Authorization"]
            assert shown == invite.headers["Authorization"] if method == "ACK" else "nc=00000002" in shown


async def test_a_cancel_that_is_challenged_is_refused(world: PortWorld) -> None:
    """It cannot come again (RFC 3261 22.1): pjsip's next one would be of no INVITE."""
    with_account(world)
    async with sip_wire.udp(world.address) as wire:
        first, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 180, "Ringing", wire)))
        await world.host.next(is_answer)
        world.host.send(world.host.follow_up("CANCEL", first))
        refused = response_to(await wire.next_request("CANCEL"), 401, "Unauthorized", wire)
        refused.headers.set("WWW-Authenticate", CHALLENGE)
        wire.send(bytes(refused))
        heard = await world.host.next(is_answer)
        assert isinstance(heard, Response) and (heard.code, heard.headers.get("WWW-Authenticate")) == (403, None)


async def test_a_bye_in_place_of_a_host_that_is_gone_is_said_with_the_password(world: PortWorld) -> None:
    """And not for ever to a PBX that is never content."""
    with_account(world)
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        wire.send(bytes(response_to(invite, 200, "OK", wire, SDP)))
        await world.host.next(is_answer)
        world.port.speak_for_dead_host("c1", "t1", Refusal("media-failed"))
        numbers = []
        for nonce in range(4):
            bye = await wire.next_request("BYE")
            numbers.append(bye.cseq.sequence)
            assert (f'nonce="{nonce - 1}"' in (bye.headers.get("Authorization") or "")) is (nonce > 0)
            refused = response_to(bye, 401, "Unauthorized", wire)
            refused.headers.set("WWW-Authenticate", CHALLENGE.replace("abc", str(nonce)))
            wire.send(bytes(refused))
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).final.code == 200
        assert wire.requests.empty() and len(world.port.requests) == 0
