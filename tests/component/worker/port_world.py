"""The edge alone, on real sockets: a door that lets everybody in, and a bare socket where a SIP host would be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sipmessage import Message, Request, Response
from teletrunk.errors import Refusal
from teletrunk_worker.policy.admission import Admitted, Invite, Registered, Transfer
from teletrunk_worker.relay.routes import CALL_HEADER, binding_uri
from teletrunk_worker.server.port import SipPort
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.registrar import Binding

from tests import sip_wire

PATIENCE_S = 5.0


class Door:
    """The gatekeeper: knows no passwords, so that what the edge itself does is seen."""

    def __init__(self) -> None:
        self.host_port = 0
        self.admitted: list[Invite] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.refused_registrations: list[tuple[str, str, str]] = []  # without our being asked
        self.takes_registrations = True
        self._calls = 0

    async def register(self, credentials: Credentials, source_address: str) -> Registered:
        if not self.takes_registrations:
            raise Refusal("worker-off")
        return await self.identify(credentials, source_address)

    async def identify(self, credentials: Credentials, source_address: str) -> Registered:
        await self._pass()
        return Registered(f"trunk-{credentials.username}", credentials.username)

    async def admit(self, invite: Invite) -> Admitted:
        await self._pass()
        self.admitted.append(invite)
        self._calls += 1
        return Admitted(f"call{self._calls}", self.host_port)

    def transfer(self, transfer: Transfer) -> None:
        raise Refusal("transfer-refused")

    async def _pass(self) -> None:
        await self.open.wait()
        if self.failure is not None:
            raise self.failure

    def turned_away(self, invite: Invite, refusal: Refusal) -> None: ...

    def registration_refused(self, credentials: Credentials, source_address: str, refusal: Refusal) -> None:
        self.refused_registrations.append((credentials.username, source_address, refusal.phrase))

    def told(self, call_id: str, leg: str, text: str, answer: str = "") -> None: ...

    def heard(self, call_id: str, leg: str) -> None: ...

    def refused(self, call_id: str, leg: str, status: int, phrase: str) -> None: ...


class BareHost(asyncio.DatagramProtocol):
    """What the edge sends to a host, as it is on the wire; and what a host would send."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.edge_port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received.put_nowait(data)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def send(self, message: Request | Response) -> None:
        self.transport.sendto(bytes(message), ("127.0.0.1", self.edge_port))  # type: ignore[attr-defined]

    async def next(self, wanted: Callable[[Message], bool] = lambda message: True) -> Message:
        """The next message that is wanted; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = Message.parse(await self.received.get())
                if wanted(message):
                    return message

    def invite(self, binding: Binding, call_id: str, leg: str = "t1", number: int = 1, user: str = "") -> Request:
        """An INVITE to a binding, or to a number there, not sent yet."""
        uri = binding_uri(binding, user)
        body = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
        return self._request("INVITE", uri, call_id, number, {CALL_HEADER: f"{call_id}/{leg}"}, body)

    def follow_up(self, method: str, invite: Request, **headers: str) -> Request:
        """CANCEL, or ACK of a refusal."""
        request = self._request(method, str(invite.uri), invite.call_id, invite.cseq.sequence, headers)
        request.headers.set("Via", invite.headers["Via"])
        return request

    def _request(
        self, method: str, uri: str, call_id: str, number: int, headers: dict[str, str], body: bytes = b""
    ) -> Request:
        lines = {
            "Via": f"SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bKhost{call_id}{number}",
            "Max-Forwards": "70",
            "From": f'"caller" <sip:1@127.0.0.1>;tag=host{call_id}',
            "To": f"<{uri}>",
            "Call-ID": call_id,
            "CSeq": f"{number} {method}",
            "Contact": "<sip:teletrunk@127.0.0.1:5060>",
            **headers,
            "Content-Length": str(len(body)),
        }
        if body:
            lines["Content-Type"] = "application/sdp"
        head = f"{method} {uri} SIP/2.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        parsed = Message.parse(head.encode() + b"\r\n" + body)
        assert isinstance(parsed, Request)
        return parsed


class PortWorld:
    def __init__(self, port: SipPort, door: Door, host: BareHost, address: str) -> None:
        self.port = port
        self.door = door
        self.host = host
        self.address = (address, port.port)

    async def registered(self, wire: sip_wire.SipWire, login: str = "office") -> Binding:
        assert (await wire.register(login, "x")).final.code == 200
        return self.port.registrar.bindings(f"trunk-{login}")[0]


@contextlib.asynccontextmanager
async def port_world(address: str = "127.0.0.1", public: Sequence[str] = (), **given: Any) -> AsyncIterator[PortWorld]:
    """`public` are the addresses that it is known by, `given` is what a port may have beside them."""
    door = Door()
    while True:
        port = SipPort(door, address, 0, public or (address,), **given)
        with contextlib.suppress(OSError):  # the TCP port that it was given is another's for UDP
            await port.start()
            break
    _, host = await asyncio.get_running_loop().create_datagram_endpoint(BareHost, local_addr=("127.0.0.1", 0))
    host.edge_port, door.host_port = port.inside_port, host.port
    try:
        yield PortWorld(port, door, host, address)
    finally:
        host.transport.close()
        await port.close()


async def authenticated(wire: sip_wire.SipWire, method: str, user: str = "", **headers: str) -> sip_wire.Exchange:
    return await wire.authenticated(method, user, "office", "x", patience=sip_wire.PATIENCE_S, **headers)


async def ready(wire: sip_wire.SipWire, method: str, user: str = "100", **headers: str) -> Request:
    """A request that answers its challenge, not sent yet."""
    first = wire.request(method, user, "office", **headers)
    return wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")


def is_invite(message: Message) -> bool:
    return isinstance(message, Request) and message.method == "INVITE"
