"""The edge and a SIP host behind it, both real; a call's other side is played by the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sipmessage import Message as SipMessage
from sipmessage import Request, Response
from teletrunk_sandbox.ports import held
from teletrunk_worker.relay.routes import binding_uri
from teletrunk_worker.sip.registrar import Binding

from tests.sip_wire import SipWire

from .host_process import HostProcess
from .port_world import PortWorld, port_world, ready

_RTP_PORTS = 32
CALL_IN, CALL_OUT = "call1/a", "call2/t1"  # of the PBX, and to it


class EdgeAndHost(HostProcess):
    patience_s = 10.0

    def __init__(self, ports: PortWorld, rtp_port: int) -> None:
        super().__init__()
        self.ports = ports
        self.port = ports.port
        self.address = ports.address
        self._rtp_port = rtp_port

    async def start(self) -> None:
        self.ports.door.host_port = await self.launch(
            {}, edge_port=self.port.inside_port, public_address="127.0.0.1", public_port=self.port.port,
            media_address="127.0.0.1", rtp_port=self._rtp_port, rtp_ports=_RTP_PORTS,
        )  # fmt: skip

    async def called(self, wire: SipWire, invite: Request) -> Response:
        """A call of the PBX, which the host answers. Returns the final answer, which is acknowledged."""
        asking = asyncio.ensure_future(wire.ask(invite))
        answering = asyncio.ensure_future(self._answer())
        answer = (await asking).final
        if answer.code == 200:
            await answering
            wire.send(bytes(wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK")))
            await self.event("answered")
        answering.cancel()
        return answer

    async def _answer(self) -> None:
        await self.event("incoming")
        self.tell("attach", self.rings.descriptor, call=CALL_IN, peer="127.0.0.1")
        self.tell("answer", call=CALL_IN)

    def dial(self, binding: Binding) -> None:
        self.tell("dial", call=CALL_OUT, uri=binding_uri(binding), caller="<sip:1@127.0.0.1>")

    def hang_up(self, call: str) -> None:
        self.tell("hangup", call=call, status=0, phrase="", headers=[])


def rewritten(request: Request, *changes: tuple[str, str]) -> Request:
    """The request with these texts in place of others, on the wire."""
    data = bytes(request)
    for old, new in changes:
        data = data.replace(old.encode(), new.encode())
    changed = SipMessage.parse(data)
    assert isinstance(changed, Request)
    changed.headers.set("Content-Length", str(len(changed.body)))
    return changed


async def ready_with(wire: SipWire, body: bytes) -> Request:
    """An INVITE with this description, not sent yet."""
    invite = await ready(wire, "INVITE")
    invite.body = body
    invite.headers.set("Content-Length", str(len(body)))
    return invite


@contextlib.asynccontextmanager
async def edge_and_host(**given: Any) -> AsyncIterator[EdgeAndHost]:
    """`given` is what a port may have."""
    with held(_RTP_PORTS) as rtp_port:
        async with port_world(**given) as ports:
            world = EdgeAndHost(ports, rtp_port)
            await world.start()
            try:
                yield world
            finally:
                await world.stop()
