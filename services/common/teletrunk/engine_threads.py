"""Whether a native library's threads have done what they were given: the kernel tells, the library does not."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from teletrunk.native_thread import OWN_THREADS

# A piece of work may go from one thread to the next, as often as this less one.
_TIMES: Final = 10
_LOOK_AGAIN_S: Final = 0.01
_MOST_PATIENCE_S: Final = 5.0  # for threads that a busy machine keeps from their work


class EngineThreads:
    """Those of this process whose names begin with `prefix`. Each works its queue off before it sleeps."""

    def __init__(self, prefix: str) -> None:
        """Raises OSError: whoever is not shown its own threads would end calls under their hands."""
        self._prefix = prefix
        # Held open: a jail lets it be read for as long as the kernel has not forgotten and made it anew.
        self._there = os.open(OWN_THREADS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._named()

    async def until_done(self) -> None:
        """Returns when they have done all that was theirs before, however busy they are with what comes after it.

        Whoever is seen asleep has handed on what it had. So when all have been, one after the other or together, all
        that was in their queues has gone one step; work that goes many steps is given time for each. At the latest
        after five seconds.
        """
        until = time.monotonic() + _MOST_PATIENCE_S
        everyone = self._named()
        for _ in range(_TIMES):
            left = everyone
            while left and time.monotonic() < until:
                await asyncio.sleep(_LOOK_AGAIN_S)
                left = [thread for thread in left if _is_awake(thread)]

    def _named(self) -> list[Path]:
        return [thread for thread in Path(OWN_THREADS).iterdir() if _read(thread / "comm").startswith(self._prefix)]


def _is_awake(thread: Path) -> bool:
    """Or waits for a processor. One that has ended is not."""
    state = _read(thread / "stat").rpartition(")")[2][1:2]  # proc(5): what follows the name, which is in parentheses
    return state not in ("", "S")


def _read(file: Path) -> str:
    """Empty when the thread has ended meanwhile."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
