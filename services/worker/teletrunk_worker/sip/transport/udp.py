"""SIP over UDP (RFC 3261 18), on IPv4 or on both (an IPv6 socket sees IPv4 peers as mapped addresses)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import cast

from teletrunk_worker.sip.transport.flow import (
    KEEP_ALIVE,
    Address,
    Flow,
    Receiver,
    SocketAddress,
    peer_of,
    without_zone,
)
from teletrunk_worker.sip.via import Via

_RECEIVE_BUFFER = 4 << 20
_SIP_PORT = 5060


@dataclass(frozen=True)
class UdpFlow:
    endpoint: UdpEndpoint
    peer: Address
    transport: str = "UDP"
    closed: bool = False

    @property
    def token(self) -> str:
        return f"u-{self.peer[0].replace(':', '_')}-{self.peer[1]}"

    def send(self, data: bytes) -> bool:
        return self.endpoint.send(data, self.peer)

    def ping(self) -> bool:
        return self.send(KEEP_ALIVE)

    def close(self) -> None:
        """There is no connection to end."""

    def prove(self, login: str) -> None:
        """There is no connection to keep."""

    def for_answers(self, via: Via) -> UdpFlow:
        """Where the answers to a request go: without `rport` to the port that its Via names (RFC 3261 18.2.2)."""
        port = self.peer[1] if "rport" in via.parameters else via.port or _SIP_PORT
        return self if port == self.peer[1] or port == 0 else UdpFlow(self.endpoint, (self.peer[0], port))


def answer_flow(flow: Flow, via: Via) -> Flow:
    """The way back for the answers to a request that came in on `flow` with `via` on top."""
    return flow.for_answers(via) if isinstance(flow, UdpFlow) else flow


class UdpEndpoint(asyncio.DatagramProtocol):
    """One bound UDP socket."""

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None
        self.is_ipv6 = False

    @classmethod
    async def on(cls, own: socket.socket, receive: Receiver) -> UdpEndpoint:
        """`own` is bound."""
        _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(lambda: cls(receive), sock=own)
        return endpoint

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.is_ipv6 = transport.get_extra_info("socket").family == socket.AF_INET6
        # The kernel gives what it may: a burst waits there while we are busy.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def datagram_received(self, data: bytes, addr: SocketAddress) -> None:
        self._receive(data, UdpFlow(self, peer_of(addr)))

    def flow(self, peer: Address) -> UdpFlow:
        return UdpFlow(self, peer)

    def flow_of(self, token: str) -> UdpFlow | None:
        """The flow that `UdpFlow.token` names."""
        kind, _, rest = token.partition("-")
        host, _, port = rest.rpartition("-")
        return UdpFlow(self, (host.replace("_", ":"), int(port))) if kind == "u" and port.isdigit() else None

    def send(self, data: bytes, peer: Address) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.sendto(data, self._socket_address(peer))
        return True

    def _socket_address(self, peer: Address) -> SocketAddress:
        host, port = peer
        if not self.is_ipv6:
            return peer
        if ":" not in host:
            return f"::ffff:{host}", port
        zone = host.partition("%")[2]
        return (without_zone(host), port, 0, int(zone)) if zone.isdecimal() else peer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
