"""The UDP relay of call media.

A packet starts with a 16-byte tag: 12 bytes name the call, 4 one of its clients. A hello (12 bytes
of ff after the tag) registers the sender's address under its tag and is echoed; anything else goes,
unchanged, to the client that its tag names.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import cast

TAG_SECONDS = 60.0
_TAG_LIMIT = 10_000
_HELLO = b"\xff" * 12

Address = tuple[str, int]


@dataclass(slots=True)
class _Client:
    address: Address
    last_heard: float


@dataclass(slots=True)
class Reflector(asyncio.DatagramProtocol):
    """Forwards media; a test may make it lose packets or drop all of them."""

    on: bool = True
    loss: float = 0.0
    forwarded: int = 0
    dropped: int = 0
    port: int = 0
    _clients: dict[bytes, _Client] = field(default_factory=dict)
    _transport: asyncio.DatagramTransport | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen on a UDP port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self.port = transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        """Stop listening."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        """Register a client, or forward its packet."""
        if len(data) < 24 or not self._passes():
            self.dropped += 1
        elif data[16:28] == _HELLO:
            self._greet(data, address)
        else:
            self._forward(data)

    def _passes(self) -> bool:
        return self.on and not (self.loss and random.random() * 100 < self.loss)

    def _greet(self, data: bytes, address: Address) -> None:
        now = time.monotonic()
        if len(self._clients) >= _TAG_LIMIT:
            self._expire(now)
        self._clients[data[:16]] = _Client(address, now)
        self._send(data[:28] + b"\xfe\xff\xff\xff" + data[32:40], address)

    def _forward(self, data: bytes) -> None:
        client = self._clients.get(data[:16])
        if client is None or time.monotonic() - client.last_heard > TAG_SECONDS:
            self._clients.pop(data[:16], None)
            self.dropped += 1
            return
        sender = self._clients.get(data[:12] + data[16:20])
        if sender:
            sender.last_heard = time.monotonic()
        self.forwarded += 1
        self._send(data, client.address)

    def _send(self, data: bytes, address: Address) -> None:
        if self._transport:
            self._transport.sendto(data, address)

    def _expire(self, now: float) -> None:
        oldest = now - TAG_SECONDS
        self._clients = {tag: client for tag, client in self._clients.items() if client.last_heard > oldest}
