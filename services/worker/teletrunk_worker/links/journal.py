"""The spool in a thread of its own: no call, and nothing else on the loop, waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog
from teletrunk.v1 import call_pb2

from teletrunk_worker.links.spool import Spool

log = structlog.get_logger()

_TOUCH_S = 0.1
Result = TypeVar("Result")


class Journal:
    """Takes the operations in the order in which they were asked for."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "journal")
        self._some_up = asyncio.Event()

    @property
    def count(self) -> int:
        """Records that no Manager has yet."""
        return self._spool.count

    def note(self, record: call_pb2.CallRecord) -> None:
        """Keeps what is known of a call that is still going on."""
        self._some_up.set()
        self._do(partial(self._spool.note, _copy(record)))

    async def keep_touching(self) -> None:
        """Were we killed, the open calls lasted until the last touch. Runs until cancelled."""
        while True:
            await self._some_up.wait()
            self._some_up.clear()
            if await self._do(self._spool.touch):
                self._some_up.set()
            await asyncio.sleep(_TOUCH_S)

    def end(self, record: call_pb2.CallRecord) -> asyncio.Future[None]:
        """Keeps a finished record until it is delivered. Done when the disk has it, or will not take it."""
        return self._do(partial(self._spool.end, _copy(record)))

    async def waiting(self, most: int) -> list[call_pb2.CallRecord]:
        """The oldest finished records."""
        return await self._do(partial(self._spool.waiting, most))

    async def put_aside(self, record: call_pb2.CallRecord) -> None:
        await self._do(partial(self._spool.put_aside, record))

    async def delivered(self, record: call_pb2.CallRecord) -> None:
        await self._do(partial(self._spool.delivered, record))

    async def close(self) -> None:
        """When all that was asked for is done."""
        await asyncio.to_thread(self._thread.shutdown)

    def _do(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        future.add_done_callback(_look_at)
        return future


def _copy(record: call_pb2.CallRecord) -> call_pb2.CallRecord:
    """The call goes on, and its record with it."""
    kept = call_pb2.CallRecord()
    kept.CopyFrom(record)
    return kept


def _look_at(done: asyncio.Future[Result]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("the journal failed", exc_info=error)
