"""The keys that are pressed on a call's phone, each once, whatever they come by."""

from __future__ import annotations

from collections import deque
from typing import Final

_MOST_WAITING = 256
MOST_TOLD: Final = 64  # of one call: as many as a record has. A PBX that sends thousands fills the wire for all calls
_REMEMBERED = 16  # events: a packet that is late belongs to one that has been counted


class Digits:
    """`heard` is called by the threads of sound and of SIP, all else by one.

    A PBX may send the same digit by two methods: only one counts in a call, the trunk's or that of the first digit.
    """

    def __init__(self) -> None:
        self.method = ""
        self.count = 0
        self._events: deque[int] = deque(maxlen=_REMEMBERED)
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)

    def only_by(self, method: str) -> None:
        """The trunk's word; empty when it has none."""
        if method and method != self.method:
            self.method = method
            self._waiting.clear()

    def heard(self, method: str, digit: str, event: int | None = None) -> None:
        """`event` is the same for all packets of one press (RFC 4733 2.2.1: its RTP timestamp)."""
        if method != (self.method or method) or event in self._events:
            return
        if event is not None:
            self._events.append(event)
        self.method = method
        self._waiting.append(digit)

    def taken(self) -> list[str]:
        """Those to tell, of those that nobody has been told of; beyond `MOST_TOLD` they are counted alone."""
        new = [self._waiting.popleft() for _ in range(len(self._waiting))]
        left = max(0, MOST_TOLD - self.count)
        self.count += len(new)
        return new[:left]
