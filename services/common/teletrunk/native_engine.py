"""ntgcalls as far as it can be trusted: what its own threads do not survive is kept from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

DEADLINE_S: Final = 5.0
# A signalling message is worked on by the engine's network thread after the call with it has returned. A call that is
# stopped meanwhile takes away what that thread works on, and the process dies (SIGSEGV, seen within 130 such calls).
_SETTLED_S = 0.25


class NativeEngine:
    """The operations of one `ntgcalls.NTgCalls`.

    One at a time: of several at once the engine was seen to corrupt its memory after some hundred calls.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._alone = asyncio.Lock()
        self._signalled: dict[int, float] = {}  # when each call had its last signalling message

    async def do(self, operation: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Raises what the operation raises, and TimeoutError after five seconds."""
        async with self._alone:
            return await asyncio.wait_for(_settled(operation(*arguments)), DEADLINE_S)

    async def signal(self, number: int, data: bytes) -> None:
        """Hands a signalling message of the other side to the call."""
        self._signalled[number] = time.monotonic()
        try:
            await self.do(self._engine.send_signaling_data, number, data)
        finally:
            self._signalled[number] = time.monotonic()

    async def stop(self, number: int) -> None:
        """Ends the call, once its last signalling message has been worked on."""
        left = self._signalled.pop(number, 0.0) + _SETTLED_S - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        await self.do(self._engine.stop, number)


async def _settled(operation: Awaitable[Any]) -> Any:
    return await operation
