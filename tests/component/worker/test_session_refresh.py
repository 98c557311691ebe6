"""Sessions are refreshed (RFC 4028) by who shall do it, and a refresh of ours that is refused is said again."""

from __future__ import annotations

import asyncio
import time

from tests import sip_wire
from tests.sip_wire import response_to

from .edge_and_host import CALL_OUT, edge_and_host
from .port_world import is_invite, port_world, ready
from .test_descriptions_at_hosts import USUAL

_SHORTEST_S = 90  # RFC 4028 4; it is refreshed after half of that


async def test_a_refresh_that_is_refused_is_tried_again() -> None:
    """pjsip waited for the session's end, and hung up: `No session refresh received`."""
    async with edge_and_host() as world, sip_wire.udp(world.address) as wire:
        session = {"Session-Expires": f"{_SHORTEST_S};refresher=uac", "Require": "timer"}
        world.dial(await world.ports.registered(wire))
        first = await wire.next_request("INVITE")
        up = response_to(first, 200, "OK", wire, USUAL)
        for name, value in session.items():
            up.headers.set(name, value)
        wire.send(bytes(up))
        await world.event("answered")
        refresh = await wire.next_request("INVITE", _SHORTEST_S)
        refused_at = time.monotonic()
        wire.answer(refresh, 491, "Request Pending")
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
