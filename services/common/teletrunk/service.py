"""One lifecycle for all three services: an ordered start, named background tasks, a drain, an orderly end.

    async with Service("worker") as service:
        await edge.start()
        service.on_close("edge", edge.close)
        service.background("manager link", manager.stay_attached)
        return await service.until_stopped(drain=calls.drain)

SIGTERM and SIGINT begin the end: the drain first, then the background tasks are cancelled, then what was opened is
closed, the last first. A second signal cuts the drain short. What was opened is closed however the service ends.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import structlog

from teletrunk.config import ConfigurationError
from teletrunk.metrics import BACKGROUND_FAILURES

log = structlog.get_logger()

# The end, once it is drained, in less than the half minute that a cluster and systemd give it. What is counted here,
# `running.LAST_S` is added to.
_END_S = 5.0  # of the background tasks, once they are cancelled
_CLOSE_S = 15.0  # of one part
_CLOSE_ALL_S = 18.0
_CLOSE_AT_LEAST_S = 0.5  # whatever those before it took
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_SOUND_S = 60.0  # a task that has run for so long begins its pauses anew


class State(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPING = "stopping"


class Cause(StrEnum):
    """Why a service drains. One that is taken back leaves the other in force."""

    MANAGER = "the Manager's word"
    SIGNAL = "the end of this process"


class Service:
    """The life of one service's process. It is entered once, in the task that `uvloop.run` has made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._causes: set[Cause] = set()
        self._serving = False
        self._stopping = False
        self._exit_code: int | None = None
        self._failure: BaseException | None = None
        self._end = asyncio.Event()  # begin to drain
        self._hurry = asyncio.Event()  # do not wait for the drain
        self._main: asyncio.Task[Any] | None = None

    @property
    def state(self) -> State:
        if self._stopping:
            return State.STOPPING
        if not self._serving:
            return State.STARTING
        return State.DRAINING if self._causes else State.SERVING

    def not_ready(self) -> str:
        """Why it takes no new work now; empty when it does."""
        state = self.state
        if state is State.SERVING:
            return ""
        return f"{state}: {', '.join(sorted(self._causes))}" if state is State.DRAINING else str(state)

    # Draining.

    @property
    def draining(self) -> bool:
        return bool(self._causes)

    def drains_for(self, cause: Cause) -> bool:
        return cause in self._causes

    def drain(self, cause: Cause) -> None:
        self._causes.add(cause)

    def resume(self, cause: Cause) -> None:
        self._causes.discard(cause)

    # What belongs to it.

    def on_close(self, name: str, close: Callable[[], Awaitable[object]]) -> None:
        """Something has been opened: it is closed at the end, the last first, each within a deadline."""
        self._opened.append((name, close))

    def background(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `work()` until the end. If it fails, that is logged and counted, and it is begun again after a pause;
        `ConfigurationError` ends the service instead. A work that returns is done."""
        BACKGROUND_FAILURES.labels(name)  # 0 from the start, so that the first failure is an increase
        task = asyncio.get_running_loop().create_task(self._keep(name, work), name=name)
        self._tasks[task] = name
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                return await work()
            except ConfigurationError as error:
                self._fail(error)
                return None
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise  # by us; grpc raises one too, when what it was given to read from fails
                BACKGROUND_FAILURES.labels(name).inc()
                if time.monotonic() - began > _SOUND_S:
                    pause = _FIRST_PAUSE_S
                log.exception("background task failed, and is begun again", task=name, pause=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    # Its life.

    async def __aenter__(self) -> Self:
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        return self

    async def until_stopped(self, drain: Callable[[], Awaitable[None]] | None = None) -> int | None:
        """Serves until a signal or `stop`; then drains. Returns what `stop` was given."""
        self._serving = True
        await self._end.wait()
        self.drain(Cause.SIGNAL)
        log.info("service ends", drains=drain is not None)
        if drain is not None and self._failure is None:
            await self._first_of(drain(), self._hurry.wait())
        return self._exit_code

    def stop(self, exit_code: int | None = None) -> None:
        """Begins the end, as a signal does."""
        self._exit_code = exit_code
        self._end.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._stopping = True
        await self._cancel_tasks()
        until = time.monotonic() + _CLOSE_ALL_S
        while self._opened:
            left = max(until - time.monotonic(), _CLOSE_AT_LEAST_S)
            await self._close(*self._opened.pop(), min(_CLOSE_S, left))
        if self._serving:  # of a start that is refused there is one line, and that says why
            log.info("service stopped")
        if self._failure is not None:
            raise self._failure
        # A signal while it was still starting: that is an end like others.
        return isinstance(error, asyncio.CancelledError) and self._end.is_set()

    def _on_signal(self) -> None:
        if self._end.is_set():
            self._hurry.set()
        self._end.set()
        self._cut_start_short()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._hurry.set()
        self._end.set()
        self._cut_start_short()

    def _cut_start_short(self) -> None:
        if self.state is State.STARTING and self._main is not None:
            self._main.cancel()

    async def _cancel_tasks(self) -> None:
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_END_S)
            for task in left:
                log.error("background task does not end", task=tasks[task])

    async def _close(self, name: str, close: Callable[[], Awaitable[object]], seconds: float) -> None:
        """A part that neither closes nor lets itself be cancelled is left behind."""
        closing = asyncio.ensure_future(close())
        done, _ = await asyncio.wait({closing}, timeout=seconds)
        if not done:
            closing.cancel()
            error: BaseException | None = TimeoutError(f"it took more than {seconds:.1f} s")
        else:
            error = asyncio.CancelledError() if closing.cancelled() else closing.exception()
        if error is not None:
            log.error("not closed in order", part=name, error=f"{type(error).__name__}: {error}")

    async def _first_of(self, *works: Awaitable[object]) -> None:
        """Returns with the first one; cancels the others. Raises what that one raises."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_END_S)
        for task in done:
            task.result()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
