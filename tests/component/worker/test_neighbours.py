"""A SIP host has calls of several trunks: what the PBX of one of them does costs the others nothing."""

from __future__ import annotations

import asyncio
import time

import pytest
from sipmessage import Message, Request
from teletrunk_worker.legs.digits import MOST_TOLD
from teletrunk_worker.sip.dialog import ASKED_AT_ONCE, MOST_ANSWERERS, OFFER_COST

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import dialled
from .port_world import PortWorld
from .sip_host_world import RtpSocket, sip_host_world
from .test_in_dialog import SDP, called

_KEYS_A_TURN = 100
_TURNS = 20
_FORKS = 200


async def test_keys_without_end_fill_no_wire() -> None:
    """Nobody reads it for a second, as on a busy machine: the host took that for the end of its Worker, and hung up."""
    async with sip_host_world() as world:
        peer = RtpSocket("127.0.0.1")
        await world.call(("127.0.0.1", peer.port), "127.0.0.1")
        await peer.talk(world.rtp_port, 0x55, 0.5)  # only who is heard may press
        for _ in range(_TURNS):
            for number in range(_KEYS_A_TURN):
                peer.press(world.rtp_port, number % 10)
            time.sleep(0.05)
        ended = await world.hang_up()
        peer.close()
        told = [event for event in world.heard if event["event"] == "digit"]
        assert len(told) == MOST_TOLD < ended["stats"]["dtmf_digits"]


async def test_whoever_rings_without_end_is_told_of_once() -> None:
    async with sip_host_world() as world:
        await world.call_out([*["180 Ringing", "183 Session Progress"] * 50, "486 Busy Here"])
        rung = [event["status"] for event in world.heard if event["event"] == "progress"]
        assert rung == [180, 183]


async def test_of_all_who_answer_the_host_has_one(world: PortWorld) -> None:
    """pjsip makes a dialog for each To tag of a 200, and says a BYE in it for half a minute."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        for number in range(_FORKS):
            answer = response_to(invite, 200, "OK", wire, SDP)
            answer.headers.set("To", f"{invite.headers['To']};tag=phone{number}")
            wire.send(bytes(answer))
        last = {"From": f"{invite.headers['To']};tag=phone0", "To": invite.headers["From"], "Call_ID": invite.call_id}
        wire.send(bytes(wire.request("UPDATE", "", "x", **last)))
        heard = [await world.host.next()]
        while not isinstance(heard[-1], Request):
            heard.append(await world.host.next())
        assert [message.headers["To"].rpartition("=")[2] for message in heard[:-1]] == ["phone0"]
        ended = {(await wire.next_request("BYE")).headers["To"] for _ in range(MOST_ANSWERERS)}
        assert len(ended) == MOST_ANSWERERS, "who lost hears it from here"


@pytest.mark.parametrize("recorded", [[], ["<sip:127.0.0.1:9;lr>"], ["<sip:slow.example;lr>", "<sip:192.0.2.7;lr>"]])
async def test_a_hosts_way_begins_here_whatever_the_pbx_has_recorded(world: PortWorld, recorded: list[str]) -> None:
    """pjsip asks for a name in the only thread, and speaks to any port of loopback."""
    async with sip_wire.udp(world.address) as wire:
        _, invite = await dialled(world, wire)
        ours = invite.headers.getlist("Record-Route")
        for kept in ([], ours):
            answer = response_to(invite, 183, "Session Progress", wire)
            answer.headers.setlist("Record-Route", [*recorded, *kept])
            wire.send(bytes(answer))
            heard = await world.host.next()
            assert heard.headers.getlist("Record-Route") == [*recorded, *ours]


async def test_sound_is_offered_again_at_a_pace(world: PortWorld) -> None:
    """Each takes ten milliseconds of the thread that moves the sound of other calls, too."""

    def offer(method: str) -> Request:
        again = wire.in_dialog(method, begun, answer, Content_Type="application/sdp")
        again.body = SDP
        again.headers.set("Content-Length", str(len(SDP)))
        return again

    def asked(message: Message) -> bool:
        return isinstance(message, Request) and message.method in ("INVITE", "UPDATE")

    async with sip_wire.udp(world.address) as wire:
        begun, answer = await called(world, wire)
        for number in range(round(ASKED_AT_ONCE / OFFER_COST)):
            asking = asyncio.ensure_future(wire.ask(offer("UPDATE" if number % 2 else "INVITE")))
            world.host.send(response_to(await world.host.next(asked), 200, "OK", wire, SDP))  # type: ignore[arg-type]
            assert (await asking).final.code == 200
        for method in ("INVITE", "UPDATE"):
            refused = (await wire.ask(offer(method))).final
            assert refused.code == 500 and refused.headers["Retry-After"] == "1"
        wire.send(bytes(wire.in_dialog("BYE", begun, answer)))
        bye = await world.host.next(lambda message: isinstance(message, Request) and message.method != "ACK")
        assert isinstance(bye, Request) and bye.method == "BYE"
