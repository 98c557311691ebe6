"""Sockets that listen. One at `::` is at both families, over TCP as over UDP, whatever the machine's own rule is."""

from __future__ import annotations

import asyncio
import socket


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
