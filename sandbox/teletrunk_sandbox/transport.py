"""MTProto's TCP framings: https://core.telegram.org/mtproto/mtproto-transports."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from teletrunk_sandbox.errors import ProtocolViolation

PACKET_LIMIT = 1 << 20


class Framing(Protocol):
    """How packets lie in the byte stream of one connection."""

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """The next packet; IncompleteReadError at the end of the stream."""

    def frame(self, packet: bytes) -> bytes:
        """The bytes that carry one packet."""


class Abridged:
    """One length byte in words, or 7f and three."""

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        words = (await reader.readexactly(1))[0] & 0x7F
        if words == 0x7F:
            words = int.from_bytes(await reader.readexactly(3), "little")
        return await reader.readexactly(_allowed(words * 4))

    def frame(self, packet: bytes) -> bytes:
        words = len(packet) // 4
        head = bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")
        return head + packet


class Intermediate:
    """A four-byte length."""

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        length = int.from_bytes(await reader.readexactly(4), "little") & 0x7FFFFFFF
        return await reader.readexactly(_allowed(length))

    def frame(self, packet: bytes) -> bytes:
        return len(packet).to_bytes(4, "little") + packet


class PaddedIntermediate(Intermediate):
    """A four-byte length that counts up to 15 random bytes at the end."""

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        packet = await super().read(reader)
        if packet[:8] == bytes(8) or len(packet) < 24:
            return packet  # an unencrypted message carries its own length
        return packet[: len(packet) - (len(packet) - 24) % 16]

    def frame(self, packet: bytes) -> bytes:
        return super().frame(packet + os.urandom(os.urandom(1)[0] & 0x0F))


async def accept(reader: asyncio.StreamReader) -> Framing:
    """Tell the framing from the first bytes that a client sends."""
    first = await reader.readexactly(1)
    if first == b"\xef":
        return Abridged()
    marker = first + await reader.readexactly(3)
    if marker == b"\xee" * 4:
        return Intermediate()
    if marker == b"\xdd" * 4:
        return PaddedIntermediate()
    raise ProtocolViolation(f"unknown transport {marker.hex()}")


def _allowed(length: int) -> int:
    if not 4 <= length <= PACKET_LIMIT:
        raise ProtocolViolation(f"packet of {length} bytes")
    return length
