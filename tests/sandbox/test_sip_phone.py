"""The sandbox's SIP phone, against a peer that agrees to everything."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from teletrunk_sandbox.actors import Actor, ActorError

PLACES = 4
CALLS = 260  # a conference bridge of pjsua has 254 places, and this build gives none back
_COPIED = re.compile(r"^(?:Via|From|Call-ID|CSeq): .*\r\n", re.MULTILINE)
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Agreeable(asyncio.DatagramProtocol):
    """Answers every request with 200; a BYE only if it may."""

    def __init__(self) -> None:
        self.answers_byes = True

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = data.decode()
        method = request.partition(" ")[0]
        if method == "ACK" or not request.strip() or (method == "BYE" and not self.answers_byes):
            return
        to = re.search(r"^To: (.*)\r\n", request, re.MULTILINE)
        assert to is not None
        tagged = to[1] if ";tag=" in to[1] else f"{to[1]};tag=agreed"
        contact = re.search(r"^Contact: .*\r\n", request, re.MULTILINE)
        body, own = "", (contact[0] if contact else "")
        if method == "INVITE":
            body, own = _SDP, f"Contact: <sip:peer@127.0.0.1:{self.port}>\r\nContent-Type: application/sdp\r\n"
        head = "".join(_COPIED.findall(request))
        answer = f"SIP/2.0 200 OK\r\n{head}To: {tagged}\r\n{own}Content-Length: {len(body)}\r\n\r\n{body}"
        self._transport.sendto(answer.encode(), address)


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Agreeable]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(Agreeable, local_addr=("127.0.0.1", 0))
    yield peer
    transport.close()


@pytest_asyncio.fixture
async def phone(peer: Agreeable, tmp_path: Path) -> AsyncIterator[Actor]:
    async with Actor("sip-phone", log=tmp_path / "phone.log") as phone:
        await phone.tell("register", server=f"127.0.0.1:{peer.port}", login="a", password="b")
        assert (await phone.wait("registration"))["status"] == 200
        yield phone


async def test_it_makes_any_number_of_calls(phone: Actor) -> None:
    for _ in range(CALLS):
        call = (await phone.tell("call", to="x", play={"hz": 440.0}))["call"]
        await phone.wait("established", call=call)
        assert (await phone.tell("heard", call=call))["play_started_at"] is None
        await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)


async def test_a_call_waits_for_the_place_of_one_that_is_ending(phone: Actor, peer: Agreeable) -> None:
    calls = [(await phone.tell("call", to="x"))["call"] for _ in range(PLACES)]
    for call in calls:
        await phone.wait("established", call=call)
    peer.answers_byes = False
    await phone.tell("hangup", call=calls[0])
    await phone.wait("ended", call=calls[0])
    next_one = asyncio.ensure_future(phone.tell("call", to="x"))
    await phone.tell("hangup", call=calls[1])  # what comes after it does not wait
    assert not next_one.done()
    peer.answers_byes = True
    await phone.wait("established", call=(await next_one)["call"])


async def test_a_call_more_than_it_can_carry_is_refused_at_once(phone: Actor) -> None:
    for _ in range(PLACES):
        await phone.wait("established", call=(await phone.tell("call", to="x"))["call"])
    with pytest.raises(ActorError, match="Too many objects"):
        await phone.tell("call", to="x", deadline=10)
