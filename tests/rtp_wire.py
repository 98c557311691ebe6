"""A phone's sound as bare RTP (RFC 3550), and digits by RFC 4733; what comes is kept packet by packet."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from sipmessage import Response
from teletrunk_sandbox import ports

FRAME_S = 0.02
SILENCE = b"\xd5" * 160  # A-law


@dataclass
class Packet:
    payload_type: int
    timestamp: int
    payload: bytes
    arrived_at: float


class RtpWire(asyncio.DatagramProtocol):
    """One stream. `port` is what its description is to name."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[Packet] = []
        self.to = ("127.0.0.1", 0)
        self.timestamp = secrets.randbelow(1 << 30)
        self._sequence = secrets.randbelow(1 << 15)
        self._source = secrets.randbits(32)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) > 12:
            _, kind, _, timestamp, _ = struct.unpack("!BBHII", data[:12])
            now = asyncio.get_running_loop().time()
            self.heard.append(Packet(kind & 0x7F, timestamp, data[12:], now))

    def offer(self, *formats: str, payload_types: str = "8 101", more: Iterable[str] = (), direction: str = "sendrecv",
              profile: str = "RTP/AVP", address: str = "127.0.0.1", version: int = 1) -> bytes:  # fmt: skip
        """A description of it; `formats` are rtpmaps."""
        maps = formats or ("8 PCMA/8000", "101 telephone-event/8000")
        lines = ["v=0", f"o=- 1 {version} IN IP4 127.0.0.1", "s=-", f"c=IN IP4 {address}", "t=0 0",
                 f"m=audio {self.port} {profile} {payload_types}", *(f"a=rtpmap:{one}" for one in maps),
                 *more, f"a={direction}"]  # fmt: skip
        return "\r\n".join(lines).encode() + b"\r\n"

    def towards(self, answer: Response | bytes) -> None:
        """Where the other side's description says that its sound is taken."""
        body = answer if isinstance(answer, bytes) else answer.body
        port, host = re.search(rb"m=audio (\d+)", body), re.search(rb"c=IN IP4 (\S+)", body)
        assert port and host
        self.to = (host[1].decode(), int(port[1]))

    def send(self, payload_type: int, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> None:
        kind, at = payload_type | (0x80 if marker else 0), self.timestamp if timestamp is None else timestamp
        self._sequence = (self._sequence + 1) % 65_536
        header = struct.pack("!BBHII", 0x80, kind, self._sequence, at % (1 << 32), self._source)
        self.transport.sendto(header + payload, self.to)

    async def speak(self, pcma: bytes, payload_type: int = 8, frame: int = 160) -> None:
        """In real time."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for start in range(0, len(pcma) - frame + 1, frame):
            self.send(payload_type, pcma[start : start + frame])
            self.timestamp += frame
            due += frame / 8_000
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def press(self, event: int, payload_type: int = 101, durations: Iterable[int] | None = None) -> None:
        """One event by RFC 4733: 100 ms, and its end said three times. `durations` may be in any order."""
        at, ends = self.timestamp, 800
        for number, duration in enumerate(durations or (160, 320, 480, 640, 800)):
            self.send(payload_type, struct.pack("!BBH", event, 10, duration), timestamp=at, marker=not number)
            await asyncio.sleep(FRAME_S)
        for _ in range(3):
            self.send(payload_type, struct.pack("!BBH", event, 0x80 | 10, ends), timestamp=at)
        self.timestamp += 1_600
        await self.speak(SILENCE * 3)


@contextlib.asynccontextmanager
async def rtp() -> AsyncIterator[RtpWire]:
    loop = asyncio.get_running_loop()
    port = ports.hold(2)
    transport, wire = await loop.create_datagram_endpoint(lambda: RtpWire(port), local_addr=("127.0.0.1", port))
    try:
        yield wire
    finally:
        transport.close()
