"""A PBX on TCP whose connection dies in a call, and which connects and registers again, as Asterisk does."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from sipmessage import Request, Response
from teletrunk.v1 import admin_pb2

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Site

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


async def talk(site: Site, trunk: admin_pb2.AddTrunkResponse, wire: sip_wire.SipWire, caller: str) -> Request:
    """A call that is up; the INVITE that made it."""
    if caller == "telegram":
        await site.friends.tell("call", phone=FRIEND, to=GATEWAY)
        invite = await wire.next_request("INVITE")
        wire.send(bytes(sip_wire.response_to(invite, 200, "OK", wire, _SDP)))
        await wire.next_request("ACK")
    else:
        await site.friends.tell("behave", phone=FRIEND, on_call="answer")
        login = trunk.trunk.login
        first = wire.request("INVITE", quote("@friend"), login)
        invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, trunk.password)
        answer = (await wire.ask(invite, patience=30)).final
        assert answer.code == 200
        wire.send(bytes(_ack(wire, invite, answer)))
    await site.friends.wait("connected", phone=FRIEND)
    return invite


def _ack(wire: sip_wire.SipWire, invite: Request, answer: Response) -> Request:
    route = ", ".join(reversed(answer.headers.getlist("Record-Route")))
    return wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK", Route=route)


@pytest.mark.parametrize("caller", ["pbx", "telegram"])
async def test_the_bye_comes_on_the_connection_that_the_pbx_has_registered_on_since(site: Site, caller: str) -> None:
    trunk = await site.trunk()
    async with sip_wire.tcp(site.sip) as first:
        contact = f"<sip:{trunk.trunk.login}@{first.local[0]}:{first.local[1]};transport=tcp>"
        registered = await first.register(trunk.trunk.login, trunk.password, Contact=contact)
        assert registered.status == (200, "OK")
        invite = await talk(site, trunk, first, caller)
    async with sip_wire.tcp(site.sip) as second:
        registered = await second.register(trunk.trunk.login, trunk.password, Contact=contact)
        assert registered.status == (200, "OK") and len(registered.header("Contact")) == 1
        await site.friends.tell("hangup", phone=FRIEND)
        bye = await second.next_request("BYE")
        second.send(bytes(sip_wire.response_to(bye, 200, "OK", second)))
        assert bye.call_id == invite.call_id
    assert (await site.record()).ended_by == "telegram"
