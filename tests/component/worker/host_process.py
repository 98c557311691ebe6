"""A SIP host as a process of its own, and the wire to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

PATIENCE_S = 20.0


class HostProcess:
    """With the rings of one call."""

    patience_s = PATIENCE_S

    def __init__(self) -> None:
        self.wire, self._theirs = Wire.pair()
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self.heard: list[Message] = []  # all events
        self.rings = RingPair.create()

    async def launch(self, environment: Mapping[str, str], **settings: object) -> int:
        """Returns the port that it listens at for SIP."""
        descriptor = self._theirs.fileno()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "teletrunk_worker.legs.sip_host", str(descriptor),
            pass_fds=[descriptor], env={**os.environ, **environment},
        )  # fmt: skip
        self._theirs.close()
        asyncio.get_running_loop().add_reader(self.wire.socket.fileno(), self._on_readable)
        self.tell("configure", None, hears_all=True, rate=8000, max_calls=4, rtp_address="", **settings)
        return int((await self.event("ready"))["port"])

    def tell(self, command: str, descriptor: int | None = None, **fields: object) -> None:
        self.wire.send({"command": command, **fields}, descriptor)

    def _on_readable(self) -> None:
        try:
            while received := self.wire.receive():
                self.heard.append(received[0])
                self._events.put_nowait(received[0])
        except PeerGone:
            asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
            self._events.put_nowait({"event": "died"})

    async def event(self, *kinds: str) -> Message:
        """The next of these kinds; others before it are passed over."""
        async with asyncio.timeout(self.patience_s):
            while (event := await self._events.get())["event"] not in kinds:
                assert event["event"] != "died", f"the host died before {kinds}"
            return event

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
        self.wire.close()
        self.rings.close()
        await asyncio.wait_for(self.process.wait(), self.patience_s)
