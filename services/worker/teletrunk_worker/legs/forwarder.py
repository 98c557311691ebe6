"""Hands a ring's sound on as soon as it is there, for a reader whose clock is free to follow the writer's.

Telegram's sender counts samples, not time: bursts may be some milliseconds late and nobody hears it, because the other
end's jitter buffer is made for that. So nothing is held back here. Only a writer that has stopped is covered for, with
silence, since a call that sends nothing looks dead; what it brings when it is back is older than what counts by then.
"""

from __future__ import annotations

from teletrunk_worker.legs.ring import Ring
from teletrunk_worker.legs.stretch import crossfade, fade_in, fade_out

_PATIENCE_MS = 60  # what one packet of Telegram's sender holds: a burst that comes later than that is missed
_MOST_BACKLOG_MS = 60  # more than that only piles up while this end was stopped, and would be delay for ever
_AFTER_WRITER_S = 0.0005  # a burst is looked for so long after its time


class Forwarder:
    """Reads blocks of `block` samples, what the writer writes at once, from `ring`; `rate` is in samples a second."""

    def __init__(self, ring: Ring, rate: int, block: int) -> None:
        self._ring = ring
        self._block = block
        self._block_s = block / rate
        self._patience_s = self._block_s + _PATIENCE_MS / 1000
        self._most_surplus = rate * _MOST_BACKLOG_MS // 1000
        self._silence = bytes(block * 2)
        self._last = self._silence
        self._flowing = False
        self._forwarded_at = 0.0
        self.late = 0  # times that the writer stopped

    def next_block(self, now: float) -> bytes | None:
        """What to send now, or None when it is not time for anything. Ask until there is nothing.

        `now` is the present time, in seconds of the clock that the writer stamps its bursts with.
        """
        if self._ring.available >= self._block:
            return self._forward(now)
        if self._flowing:
            return self._stop(now) if now - self._forwarded_at >= self._patience_s else None
        if now - self._forwarded_at < self._block_s:
            return None
        self._forwarded_at = max(self._forwarded_at + self._block_s, now - self._block_s)
        return self._silence

    def due(self, now: float) -> float:
        """When to ask again."""
        if self._flowing:
            return now - self._ring.age(now) + self._block_s + _AFTER_WRITER_S
        return self._forwarded_at + self._block_s

    def _forward(self, now: float) -> bytes:
        surplus = self._ring.available - self._block
        if not self._flowing:
            self._ring.skip(surplus)  # silence has been sent in its time
            pcm = fade_in(self._read())
        elif surplus > self._most_surplus:
            before = self._ring.peek(self._block).ljust(len(self._silence), b"\0")
            self._ring.skip(surplus)
            pcm = crossfade(before, self._read())
        else:
            pcm = self._read()
        self._flowing, self._forwarded_at, self._last = True, now, pcm
        return pcm

    def _read(self) -> bytes:
        return self._ring.read(self._block) or self._silence

    def _stop(self, now: float) -> bytes:
        self.late += 1
        self._flowing, self._forwarded_at = False, now
        return fade_out(self._last)
