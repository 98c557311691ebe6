"""Sessions are refreshed (RFC 4028) by who shall do it, and a refresh of ours that is refused is said again."""

from __future__ import annotations

import asyncio
import time

import pytest
from sipmessage import Request, Response
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import SRTP_POLICY_REQUIRED_INSECURE, TrunkOptions

from tests import sip_wire
from tests.sip_wire import response_to

from .edge_and_host import CALL_OUT, edge_and_host, ready_with
from .port_world import PortWorld, is_invite, port_world, ready
from .test_descriptions_at_hosts import KEY, USUAL, keyed

_SHORTEST_S = 90  # RFC 4028 4; it is refreshed after half of that


async def test_a_refresh_that_is_refused_is_tried_again() -> None:
    """pjsip waited for the session's end, and hung up: `No session refresh received`."""
    await asyncio.gather(refused("INVITE"), refused("UPDATE"))  # for as long as each takes


async def refused(method: str) -> None:
    """By a PBX that is asked so."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        session = {"Session-Expires": f"{_SHORTEST_S};refresher=uac", "Require": "timer"}
        world.dial(await world.ports.registered(wire))
        first = await wire.next_request("INVITE")
        up = response_to(first, 200, "OK", wire, USUAL)
        for name, value in {**session, "Allow": f"INVITE, ACK, BYE, {method}"}.items():
            up.headers.set(name, value)
        wire.send(bytes(up))
        await world.event("answered")
        refresh = await wire.next_request(method, _SHORTEST_S)
        refused_at = time.monotonic()
        wire.answer(refresh, 491, "Request Pending")
        if method == "UPDATE":  # pjsip says it once more, with a description
            wire.answer(await wire.next_request("UPDATE"), 491, "Request Pending")
        again = await wire.next_request("INVITE")
        waited = time.monotonic() - refused_at
        assert 2.0 < waited < 6 and again.cseq.sequence > refresh.cseq.sequence  # who owns the Call-ID waits 2.1 to 4 s
        assert (again.headers.get("Session-Expires") or "").startswith(str(_SHORTEST_S)) and again.body
        taken = response_to(again, 200, "OK", wire, USUAL)
        taken.headers.set("To", again.headers["To"])
        for name, value in session.items():
            taken.headers.set(name, value)
        wire.send(bytes(taken))
        assert (await wire.next_request("ACK")).cseq.sequence == again.cseq.sequence
        world.hang_up(CALL_OUT)
        await wire.next_request("BYE")


async def test_who_is_to_refresh_a_session_may_be_said_with_blanks() -> None:
    async with port_world() as world, sip_wire.udp(world.address) as wire:
        for said, heard in (
            ("1800 ; refresher = uac", "1800;refresher=uac"),
            ("1800;x=y;Refresher=UAS", "1800;refresher=uas"),
            ("1800;xrefresher=uac", "1800"),
            ("1800;refresher=uacs", "1800"),
        ):
            asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE", Session_Expires=said)))
            assert (await world.host.next(is_invite)).headers["Session-Expires"] == heard
            asking.cancel()


@pytest.mark.parametrize("profile", [b"RTP/AVP", b"RTP/SAVP"])
async def test_a_refresh_that_is_answered_in_clear_leaves_no_call_in_clear(world: PortWorld, profile: bytes) -> None:
    """The host offers its sound either way: what it took as the answer, it would follow."""
    options = TrunkOptions(srtp=SRTP_POLICY_REQUIRED_INSECURE)
    world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", options=options)])
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        invite = await ready_with(wire, keyed(KEY))
        asking = asyncio.ensure_future(wire.ask(invite))
        at_host = await world.host.next(is_invite)
        assert isinstance(at_host, Request)
        answer = response_to(at_host, 200, "OK", wire, keyed(KEY))
        world.host.send(answer)
        assert (await asking).final.code == 200
        far = {"From": answer.headers["To"], "To": answer.headers["From"], "CSeq": "7 INVITE"}
        refresh = world.host.follow_up("INVITE", at_host, **far)
        refresh.headers.set("Via", f"SIP/2.0/UDP 127.0.0.1:{world.host.port};branch=z9hG4bKrefresh")
        refresh.uri = sip_wire.uri_of(f"INVITE {invite.headers['Contact'][1:-1]} SIP/2.0\r\n\r\n".encode())
        refresh.body = keyed(KEY, profile="AVP")
        refresh.headers.set("Content-Type", "application/sdp")
        refresh.headers.set("Content-Length", str(len(refresh.body)))
        world.host.send(refresh)
        asked = await wire.next_request("INVITE")
        said = keyed(KEY) if profile == b"RTP/SAVP" else USUAL
        taken = response_to(asked, 200, "OK", wire, said)
        taken.headers.set("To", asked.headers["To"])
        wire.send(bytes(taken))
        heard = await world.host.next(lambda message: message.cseq.sequence == 7)
        assert isinstance(heard, Response) and heard.code == (200 if profile == b"RTP/SAVP" else 481)
