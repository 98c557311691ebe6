"""Which of this machine's addresses others reach it by."""

from __future__ import annotations

import socket

ANY = ("0.0.0.0", "::")  # noqa: S104
# RFC 5737, RFC 3849: nobody is there.
_FAMILIES = (("192.0.2.1", "127.0.0.1"), ("2001:db8::1", "::1"))
_LOOPBACK = tuple(loopback for _, loopback in _FAMILIES)


def own_address(host: str) -> str:
    """`host` itself; of one that means all addresses, the one from which this machine reaches other networks."""
    return own_addresses(host)[0]


def own_addresses(host: str) -> list[str]:
    """The same, of each family that it stands for: `::` is both, IPv4 first if it leads anywhere."""
    if host not in ANY:
        return [host]
    families = _FAMILIES if host == "::" else _FAMILIES[:1]
    return sorted((_towards(*family) for family in families), key=lambda address: address in _LOOPBACK)


def _towards(elsewhere: str, loopback: str) -> str:
    try:
        return address_towards(elsewhere)
    except OSError:
        return loopback


def address_towards(address: str) -> str:
    """The one from which this machine reaches that address. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as way_out:
        way_out.connect((address, 9))  # sends nothing: it only asks for the route
        return str(way_out.getsockname()[0])
