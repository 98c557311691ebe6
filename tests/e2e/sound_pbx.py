"""A PBX of bare sockets, SIP and RTP, at a trunk of its own: it says and sends exactly what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sipmessage import Request, Response
from teletrunk.v1 import call_pb2, trunk_pb2

from tests import rtp_wire, sip_wire

from .conftest import FRIEND, GATEWAY, Scene

KILOHERTZ = bytes([0x34, 0x21, 0x34, 0xD5, 0xB4, 0xA1, 0xB4, 0xD5])  # one of its waves in A-law, a millisecond


class SoundPbx:
    def __init__(self, scene: Scene, wire: sip_wire.SipWire, rtp: rtp_wire.RtpWire, login: str, password: str) -> None:
        self.scene, self.wire, self.rtp, self.login, self.password = scene, wire, rtp, login, password
        self.record: call_pb2.CallRecord | None = None  # of the call that was last up

    async def change(self, *options: str) -> None:
        await self.scene.world.command("trunk", "change", self.login, *options)
        await asyncio.sleep(1.0)  # what the Manager promises: a change is with the Workers within a second

    def with_body(self, request: Request, body: bytes, kind: str = "application/sdp") -> Request:
        request.body = body
        request.headers.set("Content-Type", kind)
        request.headers.set("Content-Length", str(len(body)))
        return request

    async def invite(self, offer: bytes) -> tuple[Request, Response]:
        """To the friend; the request that was answered, and the final answer."""
        first = self.wire.request("INVITE", "%40friend", self.login)
        first = self.with_body(first, offer) if offer else _without_body(first)
        answer = (await self.wire.ask(first, 20)).final
        if answer.code != 401:  # it is known by where it comes from
            return first, answer
        invite = self.wire.answer_challenge(first, answer, self.login, self.password)
        return invite, (await self.wire.ask(invite, 20)).final

    @contextlib.asynccontextmanager
    async def call(self, offer: bytes = b"", **behaviour: Any) -> AsyncIterator[Call]:
        """One that is up. It is hung up at the end, and its record read."""
        await self.scene.friends.tell("behave", phone=FRIEND, on_call="answer", **behaviour)
        invite, answer = await self.invite(offer or self.rtp.offer())
        assert answer.code == 200, f"{answer.code} {answer.phrase}"
        self.rtp.towards(answer)
        self.rtp.heard.clear()
        call = Call(self, invite, answer)
        call.acknowledge(invite, answer)
        await self.scene.friends.wait("connected", phone=FRIEND)
        try:
            yield call
        finally:
            if not call.over:
                await self.wire.ask(call.request("BYE"))
            self.record = await self.scene.record()


class Call:
    def __init__(self, pbx: SoundPbx, invite: Request, answer: Response) -> None:
        self.pbx, self.invite, self.answer = pbx, invite, answer
        self.over = False

    def request(self, method: str, body: bytes = b"", kind: str = "application/sdp", **headers: str) -> Request:
        request = self.pbx.wire.in_dialog(method, self.invite, self.answer, **headers)
        return self.pbx.with_body(request, body, kind) if body else _without_body(request)

    def acknowledge(self, invite: Request, answer: Response, body: bytes = b"") -> None:
        sequence = invite.cseq.sequence
        self.pbx.wire.send(bytes(self.request("ACK", body, CSeq=f"{sequence} ACK")))

    async def offer_again(self, offer: bytes, method: str = "INVITE") -> Response:
        """Within the call; the answer."""
        request = self.request(method, offer)
        answer = (await self.pbx.wire.ask(request)).final
        if method == "INVITE" and answer.code == 200:
            self.acknowledge(request, answer)
        return answer

    async def heard_at_telegram(self, skip_s: float, seconds: float) -> dict[str, Any]:
        await asyncio.sleep(seconds)  # the listening itself
        return dict(await self.pbx.scene.friends.tell("heard", phone=FRIEND, skip_s=skip_s))


def _without_body(request: Request) -> Request:
    request.body = b""
    if request.headers.get("Content-Type"):
        request.headers.remove("Content-Type")
    request.headers.set("Content-Length", "0")
    return request


@contextlib.asynccontextmanager
async def sound_pbx(scene: Scene, **options: Any) -> AsyncIterator[SoundPbx]:
    """Registered at the only trunk of the account, which has these options."""
    trunk = await scene.world.add_trunk(GATEWAY, options=trunk_pb2.TrunkOptions(**options))
    await scene.only_trunk(trunk)
    async with sip_wire.udp(scene.edge) as wire, rtp_wire.rtp() as rtp:
        pbx = SoundPbx(scene, wire, rtp, trunk.trunk.login, trunk.password)
        assert (await wire.register(pbx.login, pbx.password)).final.code == 200
        yield pbx
