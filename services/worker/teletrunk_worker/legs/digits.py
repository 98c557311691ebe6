"""The keys that are pressed on a call's phone, each once, whatever they come by."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

_MOST_WAITING = 256
MOST_TOLD: Final = 64  # of one call: as many as a record has. A PBX that sends thousands fills the wire for all calls
_REMEMBERED = 16  # events: a packet that is late belongs to one that has been counted
_CLOSE_MS = 20  # nobody lets go of a key and presses it again within a packet


class Press(NamedTuple):
    """What a packet of RFC 4733 says of a key: since when it is pressed, by the sender's clock, and for how long."""

    digit: str
    begun_ms: int
    lasts_ms: int
    over: bool

    def goes_on_as(self, later: Press) -> bool:
        """Whether that is still this press, though it has another timestamp.

        Of a long one each part has its own (2.5.1.3: eight seconds at 8 kHz, a second and a half at 48); some devices
        move it on with each packet, or with the last three.
        """
        after_ms = later.begun_ms - self.begun_ms
        longest = max(self.lasts_ms, later.lasts_ms) + _CLOSE_MS
        return self.digit == later.digit and not self.over and 0 <= after_ms <= longest


class Digits:
    """`heard` is called by the threads of sound and of SIP, all else by one.

    A PBX may send the same digit by two methods: only one counts in a call, the trunk's or that of the first digit.
    """

    def __init__(self) -> None:
        self.method = ""
        self.count = 0
        self._events: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)
        self._press: Press | None = None  # the latest
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)

    def only_by(self, method: str) -> None:
        """The trunk's word; empty when it has none."""
        if method and method != self.method:
            self.method = method
            self._waiting.clear()

    def heard(self, method: str, digit: str) -> None:
        if method == (self.method or method):
            self.method = method
            self._waiting.append(digit)

    def heard_packet(self, press: Press) -> None:
        """Of RFC 4733, which has several for each press (2.2.1), with one timestamp."""
        before, self._press = self._press, press
        event = press.digit, press.begun_ms
        if event in self._events:
            return
        self._events.append(event)
        if before is None or not before.goes_on_as(press):
            self.heard("rfc4733", press.digit)

    def taken(self) -> list[str]:
        """Those to tell, of those that nobody has been told of; beyond `MOST_TOLD` they are counted alone."""
        new = [self._waiting.popleft() for _ in range(len(self._waiting))]
        left = max(0, MOST_TOLD - self.count)
        self.count += len(new)
        return new[:left]
