"""A flow is the way back to a peer (RFC 5626's word): an address on a UDP socket, or one TCP connection.

What came in on a flow is answered on it, which is what works through NAT.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final, Protocol

Address = tuple[str, int]
IPV6_PREFIX: Final = 64  # what one customer of a provider usually has


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

    def prove(self) -> None:
        """The peer has shown a password: it is no stranger any more, and its connection is kept."""
        ...


KEEP_ALIVE: Final = b"\r\n\r\n"
Receiver = Callable[[bytes, Flow], None]


def plain(host: str) -> str:
    """An IPv4 address as such, also where an IPv6 socket saw it: bans and trusted networks know it by that name."""
    return host.removeprefix("::ffff:") if "." in host else host


def network_of(address: str) -> str:
    """What one stranger is known by: an IPv4 address, or the /64 of an IPv6 one, which has addresses without end."""
    if ":" not in address:
        return address
    try:
        source = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((source, IPV6_PREFIX), strict=False)) if source.version == 6 else str(source)
