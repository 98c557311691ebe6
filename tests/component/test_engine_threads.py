"""A native library's threads: when they are waited for, their work is done, however much they have to do besides.

Their work is a digest of some megabytes, for which Python's lock is not held.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import queue
import random
import threading
from collections.abc import Iterator

import pytest
from teletrunk.engine_threads import EngineThreads

_PR_SET_NAME = 15
STEPS = 9
PIECE, ELSE = bytes(4 << 20), bytes(64 << 10)


class Worker(threading.Thread):
    """Works its queue off, and has more to do some hundred times a second."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self.work: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.others: list[Worker] = []
        self.done = threading.Event()
        self.native_name = f"busy-{number}".encode()
        self.ending = False

    def run(self) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, self.native_name, 0, 0, 0)
        while not self.ending:
            try:
                steps = self.work.get(timeout=0.004)
            except queue.Empty:
                hashlib.sha256(ELSE)
                continue
            hashlib.sha256(PIECE)
            if steps:
                random.choice(self.others).work.put(steps - 1)
            else:
                self.done.set()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    workers = [Worker(number) for number in range(3)]
    for worker in workers:
        worker.others = workers
        worker.start()
    yield workers
    for worker in workers:
        worker.ending = True
        worker.join()


async def test_work_that_they_hand_to_each_other_is_done(workers: list[Worker]) -> None:
    threads = EngineThreads("busy-")
    for _ in range(20):
        workers[0].work.put(STEPS)
        async with asyncio.timeout(3):
            await threads.until_done()
        finished = [worker for worker in workers if worker.done.is_set()]
        assert len(finished) == 1
        finished[0].done.clear()


async def test_nobody_is_waited_for_who_is_not_there() -> None:
    async with asyncio.timeout(3):
        await EngineThreads("nobody-").until_done()
