"""Dialogs between a PBX of bare sockets and a SIP host that a test plays."""

from __future__ import annotations

import asyncio

from sipmessage import Request, Response

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, ready

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


async def established(world: PortWorld, wire: sip_wire.SipWire) -> tuple[Request, Response]:
    """A call from a PBX that its host has answered."""
    invite = await ready(wire, "INVITE")
    asking = asyncio.ensure_future(wire.ask(invite))
    at_host = await world.host.next()
    assert isinstance(at_host, Request)
    world.host.send(response_to(at_host, 200, "OK", wire, SDP))
    return invite, (await asking).final


async def dialled(world: PortWorld, wire: sip_wire.SipWire, call_id: str = "c1") -> tuple[Request, Request]:
    """A host's INVITE, as the host sent it and as the PBX has it."""
    invite = world.host.invite(await world.registered(wire), call_id)
    world.host.send(invite)
    return invite, await wire.next_request("INVITE")
