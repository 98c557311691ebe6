"""A flow is the way back to a peer (RFC 5626's word): an address on a UDP socket, or one TCP connection.

What came in on a flow is answered on it, which is what works through NAT.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, Protocol

Address = tuple[str, int]
SocketAddress = tuple[str, int] | tuple[str, int, int, int]  # of IPv4; of IPv6, with flow label and zone
IPV6_PREFIX: Final = 64  # what one customer of a provider usually has
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 2.5.5.2


class Flow(Protocol):
    """The way to one peer. `token` names it in Via parameters for as long as the process lives."""

    @property
    def token(self) -> str: ...

    @property
    def transport(self) -> str: ...

    @property
    def peer(self) -> Address: ...

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent on it any more."""
        ...

    def send(self, data: bytes) -> bool:
        """False when the flow is gone."""
        ...

    def ping(self) -> bool:
        """Keeps the way open (RFC 5626 4.4, RFC 6223). False when the flow is gone."""
        ...

    def close(self) -> None:
        """Ends a connection that was made for nothing; an address has none."""
        ...

    def prove(self, login: str) -> None:
        """The peer has shown this login's password: it is no stranger any more, and its connection is kept."""
        ...


KEEP_ALIVE: Final = b"\r\n\r\n"
Receiver = Callable[[bytes, Flow], None]


def address_of(flow: Flow) -> str:
    """Where its peer is, host:port."""
    host, port = flow.peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain(host: str) -> str:
    """The one name that an address is known by: an IPv4 address as such, also where an IPv6 socket saw it."""
    if ":" not in host:
        return host
    try:  # not by `ipaddress`: each message is asked about, and that takes twenty times as long
        packed = socket.inet_pton(socket.AF_INET6, host)
    except (OSError, ValueError):
        return host
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed.removeprefix(_MAPPED))
    return socket.inet_ntop(socket.AF_INET6, packed)


def peer_of(address: SocketAddress) -> Address:
    """Whom a socket names. A link-local address has its zone (RFC 4007 11), the number of the interface behind which
    it is: loops of asyncio's and uvloop's write it in different places."""
    host, port, *more = address
    host = plain(host.partition("%")[0])
    zone = more[1] if len(more) > 1 else 0
    return f"{host}%{zone}" if zone else host, port


def without_zone(host: str) -> str:
    """As messages say it: a zone means nothing to others (RFC 6874 1)."""
    return host.partition("%")[0]


def network_of(address: str) -> str:
    """What one stranger is known by: an IPv4 address, or the /64 of an IPv6 one, which has addresses without end."""
    address = plain(address)
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, without_zone(address))
    except (OSError, ValueError):
        return address
    prefix = packed[: IPV6_PREFIX // 8]
    return f"{socket.inet_ntop(socket.AF_INET6, prefix.ljust(16, bytes(1)))}/{IPV6_PREFIX}"
