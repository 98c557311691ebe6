"""An HTTP connection that does not wait for ever for a request, and of which no address has them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from teletrunk.front_door import network_of

REQUEST_S: Final = 20.0  # until a request, its body with it, is there
MOST_OF_ADDRESS: Final = 200  # a reverse proxy's are those of all who come through it
_held: Counter[str] = Counter()


class HttpConnection(H11Protocol):
    """uvicorn's own waits without an end for the first request, and for the rest of each."""

    _late: asyncio.TimerHandle | None = None
    _network = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        network = network_of(self.client[0] if self.client else "")
        if _held[network] >= MOST_OF_ADDRESS:
            transport.abort()
            return
        self._network = network
        _held[network] += 1
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_more()
        if self._network:
            _held[self._network] -= 1
            if not _held[self._network]:
                del _held[self._network]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._wait_no_more()

    def _wait(self) -> None:
        """However often something comes: who sends a byte at a time is not waited for any longer."""
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
