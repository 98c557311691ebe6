"""ntgcalls as far as it can be trusted: what its own threads do not survive is kept from it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from teletrunk.engine_threads import EngineThreads
from teletrunk.inline_loop import InlineLoop

DEADLINE_S: Final = 5.0
_THREADS: Final = "ntg-"  # how their names begin
# A signalling message is worked on by the engine's threads after the call with it has returned. A call that is
# stopped meanwhile takes away what they work on, and the process dies (SIGSEGV, seen within 130 such calls).
_SETTLED_S = 0.25
# The other side's sound is unhooked by the network thread, after the call that it was hooked to has been freed: it
# writes into whatever has that memory by then. Unhooked first, and waited for, it has nothing left to do.
_UNHOOKED_S = 0.05


class NativeEngine:
    """The operations of one `ntgcalls.NTgCalls`.

    One at a time: of several at once the engine was seen to corrupt its memory after some hundred calls.
    """

    def __init__(self, ntgcalls: Any, alone: asyncio.Lock | None = None) -> None:
        """`ntgcalls` is the module: whoever has no engine need not load it. Engines of one process share `alone`.

        Raises OSError when the kernel does not show its threads.
        """
        self.engine = ntgcalls.NTgCalls()
        self._threads = EngineThreads(_THREADS)
        self._error = ntgcalls.BaseRTCException
        self._playback, self._microphone = ntgcalls.StreamMode.PLAYBACK, ntgcalls.StreamDevice.MICROPHONE
        self._no_sound = ntgcalls.MediaDescription(None, None, None, None)
        self._stamp = ntgcalls.FrameData(0, ntgcalls.VideoRotation.VIDEO_ROTATION_0, 0, 0)
        state = ntgcalls.ConnectionState
        self.over = (state.FAILED, state.TIMEOUT, state.CLOSED)  # what it says of a call that it gives up
        self._alone = alone or asyncio.Lock()
        self._signalled: dict[int, float] = {}  # when each call had its last signalling message
        self._sending = threading.Lock()
        self._deaf: set[int] = set()  # calls that no sound is given to any more

    async def do(self, operation: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Raises what the operation raises, and TimeoutError after five seconds."""
        async with self._alone:
            async with asyncio.timeout(DEADLINE_S):
                return await operation(*arguments)

    async def signal(self, number: int, data: bytes) -> None:
        """Hands a signalling message of the other side to the call."""
        self._signalled[number] = time.monotonic()
        try:
            await self.do(self.engine.send_signaling_data, number, data)
        finally:
            self._signalled[number] = time.monotonic()

    def send_frame(self, number: int, pcm: bytes) -> None:
        """Gives 10 ms of sound to a call. For a plain thread whose loop is an `InlineLoop`.

        Raises what the engine raises when it has no such call.
        """
        with self._sending:
            if number not in self._deaf:
                self.engine.send_external_frame(number, self._microphone, pcm, self._stamp)

    def no_more_frames(self, number: int) -> None:
        """From any thread: the engine frees a call under whoever is giving it sound."""
        with self._sending:
            self._deaf.add(number)

    def gives_up(self, number: int) -> None:
        """In the engine's own report that a call is lost: it frees the call as soon as that returns."""
        self.no_more_frames(number)
        asyncio.set_event_loop(InlineLoop())  # type: ignore[abstract]  # it asks for no more
        with contextlib.suppress(Exception):
            self.engine.set_stream_sources(number, self._playback, self._no_sound)
        time.sleep(_UNHOOKED_S)

    async def stop(self, number: int) -> None:
        """Ends the call, once its last signalling message has been worked on and its sound is unhooked.

        Raises TimeoutError when the engine does not answer. A call that has ended by itself is ended.
        """
        self.no_more_frames(number)
        try:
            left = self._signalled.pop(number, 0.0) + _SETTLED_S - time.monotonic()
            await asyncio.sleep(max(left, 0.0))
            await self._threads.until_done()
            with contextlib.suppress(self._error, TimeoutError):  # it has ended by itself, or is stopped all the same
                await self.do(self.engine.set_stream_sources, number, self._playback, self._no_sound)
            await asyncio.sleep(_UNHOOKED_S)
            await self._threads.until_done()
            with contextlib.suppress(self._error):
                await self.do(self.engine.stop, number)
        finally:
            self._deaf.discard(number)
