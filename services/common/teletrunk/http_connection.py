"""An HTTP connection that does not wait for ever for a request, and of which no address has them all."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from teletrunk.front_door import network_of
from teletrunk.places import Places

REQUEST_S: Final = 20.0  # until a request, its body with it, is there
MOST_OF_ADDRESS: Final = 200  # a reverse proxy's are those of all who come through it
_held: Places[tuple[object, str]] = Places()  # by listener: probes of another one come from the same address


class HttpConnection(H11Protocol):
    """uvicorn's own waits without an end for the first request, and for the rest of each."""

    _late: asyncio.TimerHandle | None = None
    _holder: tuple[object, str] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        network = network_of(self.client[0]) if self.client else ""  # who has gone already has no address
        holder = self.server, network
        if not network or not _held.take(holder, MOST_OF_ADDRESS):
            transport.abort()
            return
        self._holder = holder
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_more()
        if self._holder is not None:
            _held.give_back([self._holder])

    def handle_events(self) -> None:
        """After each piece that has come, and after each answer: the next request may have come with the one before."""
        super().handle_events()
        if self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and self._has_begun()):
            self._wait()
        else:
            self._wait_no_more()

    def _has_begun(self) -> bool:
        """Whether part of a request is there, or none has come yet: uvicorn itself waits between two of them."""
        return bool(self.conn.trailing_data[0]) or self.cycle is None

    def _wait(self) -> None:
        """However often something comes: who sends a byte at a time is not waited for any longer."""
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
