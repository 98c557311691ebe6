"""The shared state of one Manager that shares it with nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable

from teletrunk_manager.state import LINE_S, SERVICE_S, Line


class MemoryState:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._services: dict[str, tuple[str, bytes, float]] = {}
        self._pools: dict[str, dict[str, float]] = {}
        self._listeners: set[asyncio.Event] = set()
        self._queues: set[asyncio.Queue[bytes]] = set()

    async def take_service(self, service_id: str, holder: str, record: bytes) -> None:
        self._services[service_id] = (holder, record, self._clock() + SERVICE_S)

    async def show_service(self, service_id: str, holder: str, record: bytes) -> bool:
        if self._holder(service_id) not in (None, holder):
            return False
        await self.take_service(service_id, holder, record)
        return True

    async def drop_service(self, service_id: str, holder: str) -> bool:
        mine = self._holder(service_id) == holder
        if mine:
            self._services[service_id] = ("", b"", self._clock() + SERVICE_S)
        return mine

    def _holder(self, service_id: str) -> str | None:
        found = self._services.get(service_id)
        return found[0] or None if found and found[2] > self._clock() else None

    async def services(self) -> dict[str, bytes]:
        now = self._clock()
        self._services = {name: entry for name, entry in self._services.items() if entry[2] > now}
        return {name: record for name, (_, record, _) in self._services.items()}

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

    async def give_line(self, line: Line) -> None:
        self._taken(line[0]).pop(line[1], None)

    async def lines(self, pool: str) -> int:
        return len(self._taken(pool))

    def _taken(self, pool: str) -> dict[str, float]:
        now = self._clock()
        self._pools[pool] = {call: until for call, until in self._pools.get(pool, {}).items() if until > now}
        return self._pools[pool]

    async def announce(self) -> None:
        for listener in self._listeners:
            listener.set()

    async def changes(self) -> AsyncIterator[None]:
        listener = asyncio.Event()
        self._listeners.add(listener)
        try:
            while True:
                await listener.wait()
                listener.clear()
                yield
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
