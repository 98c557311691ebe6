"""Which of this machine's addresses others reach it by."""

from __future__ import annotations

import socket

ANY = ("0.0.0.0", "::")  # noqa: S104
_ELSEWHERE = "192.0.2.1"  # RFC 5737: nobody is there


def own_address(host: str) -> str:
    """`host` itself; of one that means all addresses, the one from which this machine reaches other networks."""
    if host not in ANY:
        return host
    try:
        return address_towards(_ELSEWHERE)
    except OSError:
        return "127.0.0.1"


def address_towards(address: str) -> str:
    """The one from which this machine reaches that address. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        way_out.connect((address, 9))  # sends nothing: it only asks for the route
        return str(way_out.getsockname()[0])
