"""Work that nobody waits for, owned and watched all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class BackgroundTasks:
    """The tasks of one owner, which end by themselves. A failure is logged; a cancellation is not one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def run(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def settle(self, seconds: float) -> None:
        """Lets them end by themselves, for so long; then they are cancelled."""
        for task in await self.ended(seconds):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ended(self, seconds: float) -> set[asyncio.Task[Any]]:
        """Waits for their end, for so long. Returns those that are left."""
        if not self._tasks:
            return set()
        return (await asyncio.wait(self._tasks, timeout=seconds))[1]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            import structlog  # 2 MB, and a native host has this class and no log

            log = structlog.get_logger()
            log.error("background work failed", work=task.get_coro().__qualname__, exc_info=error)  # type: ignore[union-attr]
