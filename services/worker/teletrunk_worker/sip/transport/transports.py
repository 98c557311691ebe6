"""All that SIP goes over: one UDP socket, TCP on the same port, TLS on its own, and the connections that we make."""

from __future__ import annotations

import ipaddress
import socket

from teletrunk_worker.sip.transport.flow import Address, Flow, Receiver
from teletrunk_worker.sip.transport.locate import PORTS, Place
from teletrunk_worker.sip.transport.sockets import bound, bound_for_both
from teletrunk_worker.sip.transport.tcp import Closed, TcpListener
from teletrunk_worker.sip.transport.tls import Certificates
from teletrunk_worker.sip.transport.udp import UdpEndpoint


class Transports:
    """Binds the sockets, and knows each flow by its token."""

    def __init__(self, receive: Receiver, on_close: Closed, certificates: Certificates | None = None) -> None:
        """`on_close` is called when a connection has ended."""
        self._receive = receive
        self._certificates = certificates
        self._tcp = TcpListener(receive, on_close, "TCP")
        self._tls = TcpListener(receive, on_close, "TLS")
        self.port = 0
        self.tls_port = 0  # 0: nobody can come by TLS

    async def start(self, host: str, port: int, tls: Address | None = None) -> None:
        """Port 0 asks for any free one. Raises OSError when a port is taken."""
        stream, datagrams = await bound_for_both(host, port)
        await self._tcp.listen(stream)
        self._udp = await UdpEndpoint.on(datagrams, self._receive)
        self.port = self._udp.port
        if tls is not None and self._certificates is not None and self._certificates.server is not None:
            await self._tls.listen(await bound(*tls, socket.SOCK_STREAM), self._certificates.server)
            self.tls_port = self._tls.port

    def port_of(self, transport: str) -> int:
        """What peers are told to come back to."""
        return (self.tls_port or PORTS["TLS"]) if transport == "TLS" else self.port

    def flow_of(self, token: str) -> Flow | None:
        return self._tcp.flow_of(token) or self._tls.flow_of(token) or self._udp.flow_of(token)

    async def flow_to(self, place: Place, *, any_certificate: bool = False) -> Flow:
        """A way to a server. Raises OSError: nobody is there, or it is not who it should be."""
        if _lacks_zone(place.address[0]):
            raise OSError(f"{place.address[0]} is link-local and names no interface: use another address")
        if place.transport == "UDP":
            if ":" in place.address[0] and not self._udp.is_ipv6:
                raise OSError(f"{place.address[0]} is IPv6, and this Worker's SIP address is not")
            return self._udp.flow(place.address)
        if place.transport == "TCP":
            return await self._tcp.connect(place.address)
        assert self._certificates is not None
        context = self._certificates.unchecked if any_certificate else self._certificates.client
        return await self._tls.connect(place.address, context, place.name)

    async def close(self) -> None:
        self._udp.close()
        await self._tcp.close()
        await self._tls.close()


def _lacks_zone(host: str) -> bool:
    return "%" not in host and ":" in host and ipaddress.IPv6Address(host).is_link_local
