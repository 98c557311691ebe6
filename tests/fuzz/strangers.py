"""Strangers: they have no password, many addresses, and send what they like over UDP and TCP, IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from dataclasses import dataclass, field

from tests.fuzz import sdp, templates
from tests.fuzz.journal import Journal
from tests.fuzz.mutations import Message, Mutated, Mutator

_PATIENCE_S = 4.0
_ONCE_MORE_S = 0.1
_MOST_BEHIND_S = 0.1  # what a busy machine has kept from being sent is not made up for: it would be a flood
_MESSAGES_AN_ADDRESS = 25
_TCP_SHARE = 0.1
_IPV6_SHARE = 0.2
_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass
class Due:
    kind: str
    mutated: Mutated
    until: float


@dataclass
class Strangers:
    """`rate` messages a second altogether, until cancelled."""

    port: int  # of the gateway, at 127.0.0.1 and ::1
    journal: Journal
    seed: int
    rate: float
    _due: dict[bytes, Due] = field(default_factory=dict)

    async def run(self) -> None:
        rng, mutator = random.Random(self.seed), Mutator(self.seed)
        due = time.monotonic()
        async with asyncio.TaskGroup() as tcp:
            while True:
                stranger = await _Stranger.at(_address(rng), self)
                for _ in range(_MESSAGES_AN_ADDRESS):
                    if rng.random() < _TCP_SHARE:
                        mutated = self._message(rng, mutator, stranger, "TCP")
                        tcp.create_task(self._over_tcp(stranger, mutated))
                    else:
                        stranger.send(self._message(rng, mutator, stranger, "UDP"))
                    now = time.monotonic()
                    due = max(due, now - _MOST_BEHIND_S) + 1 / self.rate
                    await asyncio.sleep(max(0.0, due - now))
                asyncio.get_running_loop().call_later(_PATIENCE_S, stranger.transport.close)
                self._count_unanswered()

    def _message(self, rng: random.Random, mutator: Mutator, stranger: _Stranger, transport: str) -> Mutated:
        data = templates.stranger(rng, stranger.address, stranger.server, transport)
        kinds: tuple[str, ...] = ()
        if rng.random() < 0.2 and b"application/sdp" in data:
            body, kinds = sdp.mutated(rng, templates.sdp(*stranger.address))
            message = Message(data)
            message.body = body
            data = bytes(message)
        mutated = mutator.message(data)
        return Mutated(mutated.data, kinds + mutated.kinds, mutated.answerable)

    def expect(self, kind: str, mutated: Mutated) -> None:
        owed = mutated.answerable and not mutated.data.startswith((b"ACK", b"SIP/2.0"))
        if owed and (call_id := _CALL_ID.search(mutated.data)):
            self._due[call_id[1]] = Due(kind, mutated, time.monotonic() + _PATIENCE_S)

    def answered(self, data: bytes) -> None:
        self.journal.note_answer(data.split(b"\r\n", 1)[0])
        if call_id := _CALL_ID.search(data):
            self._due.pop(call_id[1], None)

    def _count_unanswered(self) -> None:
        now = time.monotonic()
        for call_id, due in list(self._due.items()):
            if due.until < now:
                del self._due[call_id]
                self.journal.note_unanswered(due.kind, due.mutated.kinds, due.mutated.data)

    async def _over_tcp(self, stranger: _Stranger, mutated: Mutated) -> None:
        """One connection, one message, and whatever is said to it within a moment."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(*stranger.server, local_addr=(stranger.address[0], 0))
            try:
                self.journal.note_sent(f"stranger TCP{stranger.family}", stranger.address[0], mutated.data)
                self.expect(f"stranger TCP{stranger.family}", mutated)
                writer.write(mutated.data)
                await self._hear(reader, _PATIENCE_S / 2)
                await self._hear(reader, _ONCE_MORE_S)  # what came while this process had no processor
            finally:
                writer.transport.abort()

    async def _hear(self, reader: asyncio.StreamReader, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    self.answered(head)


class _Stranger(asyncio.DatagramProtocol):
    """One address."""

    def __init__(self, strangers: Strangers) -> None:
        self._strangers = strangers

    @classmethod
    async def at(cls, host: str, strangers: Strangers) -> _Stranger:
        transport, stranger = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(strangers), local_addr=(host, 0)
        )
        stranger.transport = transport
        stranger.address = transport.get_extra_info("sockname")[:2]
        return stranger

    @property
    def family(self) -> str:
        return "6" if ":" in self.address[0] else "4"

    @property
    def server(self) -> tuple[str, int]:
        """The gateway, at its address of the same family."""
        return "::1" if self.family == "6" else "127.0.0.1", self._strangers.port

    transport: asyncio.DatagramTransport
    address: tuple[str, int]

    def send(self, mutated: Mutated) -> None:
        self._strangers.journal.note_sent(f"stranger UDP{self.family}", self.address[0], mutated.data)
        self._strangers.expect(f"stranger UDP{self.family}", mutated)
        self.transport.sendto(mutated.data, self.server)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._strangers.answered(data)


def _address(rng: random.Random) -> str:
    """Of IPv6, a machine has one that is its own alone."""
    if rng.random() < _IPV6_SHARE:
        return "::1"
    return f"127.{rng.randint(1, 250)}.{rng.randint(0, 250)}.{rng.randint(1, 250)}"
