"""The shared state of one Manager that shares it with nobody."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from teletrunk_manager.state import LINE_S, SERVICE_S, Holding, Line, Mark, Telling

_MOST_BEHIND = 64


@dataclass
class _Shown:
    """A whole record, in which are `upto` changes, and those after it, and some before: who is behind a little reads
    these."""

    holder: str  # empty: it has left
    until: float
    record: bytes
    seen_at: float = 0.0
    stamp: str = field(default_factory=lambda: secrets.token_hex(4))
    count: int = 0
    upto: int = 0
    changes: list[bytes] = field(default_factory=list)

    @property
    def mark(self) -> Mark:
        return Mark(self.stamp, self.count, self.seen_at, left=not self.holder)

    def since(self, count: int) -> list[bytes]:
        return self.changes[len(self.changes) - self.count + count :]

    def knows(self, mark: Mark) -> bool:
        return mark.stamp == self.stamp and mark.count >= self.count - len(self.changes)


@dataclass(eq=False)
class _Listener:
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    stored: bool = False


class MemoryState:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._services: dict[str, _Shown] = {}
        self._pools: dict[str, dict[str, float]] = {}
        self._listeners: set[_Listener] = set()
        self._queues: set[asyncio.Queue[bytes]] = set()

    async def take_service(self, service_id: str, holder: str, record: bytes) -> None:
        self._services[service_id] = _Shown(holder, self._clock() + SERVICE_S, record)

    async def show_service(self, service_id: str, holder: str, change: bytes, whole: Callable[[], bytes]) -> bool:
        shown = self._there(service_id)
        if shown is None or not shown.holder:
            await self.take_service(service_id, holder, whole())
        elif shown.holder != holder:
            return False
        elif change:
            shown.changes.append(change)
            shown.count += 1
            if sum(map(len, shown.since(shown.upto))) > len(shown.record):
                shown.record, shown.upto, shown.changes = whole(), shown.count, shown.changes[-_MOST_BEHIND:]
        return True

    async def keep_services(self, holdings: Iterable[Holding]) -> tuple[set[str], set[str]]:
        gone, forgotten = set(), set()
        for holding in holdings:
            shown = self._there(holding.service_id)
            if shown is None or not shown.holder:
                forgotten.add(holding.service_id)
            elif shown.holder != holding.holder:
                gone.add(holding.service_id)
            else:
                shown.until, shown.seen_at = self._clock() + SERVICE_S, holding.seen_at
        return gone, forgotten

    async def drop_service(self, service_id: str, holder: str) -> bool:
        shown = self._there(service_id)
        if shown is None or shown.holder != holder:
            return False
        self._services[service_id] = _Shown("", self._clock() + SERVICE_S, b"")
        return True

    def _there(self, service_id: str) -> _Shown | None:
        shown = self._services.get(service_id)
        return shown if shown is not None and shown.until > self._clock() else None

    async def services(self) -> dict[str, Mark]:
        now = self._clock()
        self._services = {name: shown for name, shown in self._services.items() if shown.until > now}
        return {name: shown.mark for name, shown in self._services.items()}

    async def service(self, service_id: str, known: Mark | None) -> Telling | None:
        if (shown := self._there(service_id)) is None:
            return None
        if known is not None and shown.knows(known):
            return Telling(shown.mark, False, shown.since(known.count))
        return Telling(shown.mark, True, [shown.record, *shown.since(shown.upto)])

    async def take_line(self, line: Line, limit: int) -> bool:
        pool, call_id = line
        taken = self._taken(pool)
        if call_id not in taken and len(taken) >= limit:
            return False
        taken[call_id] = self._clock() + LINE_S
        return True

    async def keep_lines(self, lines: Iterable[Line]) -> None:
        for pool, call_id in lines:
            self._taken(pool)[call_id] = self._clock() + LINE_S

    async def renew_lines(self, lines: Iterable[Line]) -> None:
        await self.keep_lines([line for line in lines if line[1] in self._taken(line[0])])

    async def give_line(self, line: Line) -> None:
        self._taken(line[0]).pop(line[1], None)

    async def lines(self, pool: str) -> int:
        return len(self._taken(pool))

    def _taken(self, pool: str) -> dict[str, float]:
        now = self._clock()
        self._pools[pool] = {call: until for call, until in self._pools.get(pool, {}).items() if until > now}
        return self._pools[pool]

    async def announce(self, *, stored: bool = True) -> None:
        for listener in self._listeners:
            listener.stored |= stored
            listener.woken.set()

    async def changes(self) -> AsyncIterator[bool]:
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while True:
                await listener.woken.wait()
                listener.woken.clear()
                stored, listener.stored = listener.stored, False
                yield stored
        finally:
            self._listeners.discard(listener)

    async def pass_on(self, message: bytes) -> int:
        for queue in self._queues:
            queue.put_nowait(message)
        return len(self._queues)

    async def passed_on(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    async def close(self) -> None:
        pass
