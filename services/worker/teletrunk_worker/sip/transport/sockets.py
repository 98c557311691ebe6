"""Sockets that listen. One at `::` is at both families, over TCP as over UDP, whatever the machine's own rule is."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

_TRIES: Final = 50


async def bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Raises OSError when the port is taken."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    family, _, _, _, address = found[0]
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


async def bound_for_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """One for TCP and one for UDP, at the same port. Port 0 asks for any one that is free for both.

    Raises OSError when it is taken.
    """
    tries_left = 1 if port else _TRIES
    while True:
        stream = await bound(host, port, socket.SOCK_STREAM)
        try:
            return stream, await bound(host, stream.getsockname()[1], socket.SOCK_DGRAM)
        except OSError:
            stream.close()
            tries_left -= 1
            if not tries_left:
                raise
