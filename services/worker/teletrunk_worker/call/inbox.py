"""A call's inbox, and its timers: what was started again or given up has nothing to say any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from teletrunk_worker.call import events as on

Put = Callable[[on.Event], None]


class Source:
    """One of those that put events in: one start of a timer, one try of a port.

    Once closed, whatever it still says is void, and so is what it has said and nobody has read yet.
    """

    def __init__(self, queue: asyncio.Queue[tuple[Source | None, on.Event]]) -> None:
        self._queue = queue
        self.closed = False

    def put(self, event: on.Event) -> None:
        if not self.closed:
            self._queue.put_nowait((self, event))

    def close(self) -> None:
        self.closed = True


class Inbox:
    """Everything that happens to a call, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Source | None, on.Event]] = asyncio.Queue()

    def put(self, event: on.Event) -> None:
        """From those who can always speak: the Manager, the edge, whoever ends the Worker."""
        self._queue.put_nowait((None, event))

    def source(self) -> Source:
        return Source(self._queue)

    async def get(self) -> on.Event:
        """The next event that is not void."""
        while True:
            source, event = await self._queue.get()
            if source is None or not source.closed:
                return event


class Timers:
    """Named timers; each start is a generation of its own, whose `Expired` is void once it was stopped."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._running: dict[str, tuple[asyncio.TimerHandle, Source]] = {}

    def start(self, name: str, seconds: float) -> None:
        """Anew, if it runs."""
        self.stop(name)
        source = self._inbox.source()
        handle = asyncio.get_running_loop().call_later(seconds, source.put, on.Expired(name))
        self._running[name] = handle, source

    def stop(self, name: str) -> None:
        handle, source = self._running.pop(name, (None, None))
        if handle is not None and source is not None:
            handle.cancel()
            source.close()

    def stop_all(self) -> None:
        for name in list(self._running):
            self.stop(name)
