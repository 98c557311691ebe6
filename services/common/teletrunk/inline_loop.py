"""Calls into ntgcalls from plain threads, without asyncio's loop."""

from __future__ import annotations

import asyncio
from typing import Any


class InlineLoop(asyncio.AbstractEventLoop):
    """Set as a plain thread's loop, it lets that thread call ntgcalls in place.

    ntgcalls hands each call to the executor of the thread's loop; this one runs it at once.
    """

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        return func(*args)

    def is_running(self) -> bool:
        return False

    def close(self) -> None:
        return None
