"""Plays a ring at the reader's own pace: start-up delay, drift, stalls, gaps.

The reader asks for one block each tick of its clock. The writer's clock is another, so the ring slowly
fills or drains. What matters is not how full it is (that saws up and down with the writer's bursts) but the
least that was left after a read, over a window: that is sound which only delays. The playout keeps this
reserve near a target by playing single blocks one sample shorter or longer.
"""

from __future__ import annotations

from teletrunk_worker.legs.ring import Ring
from teletrunk_worker.legs.stretch import HALF_TAPS, crossfade, fade_in, fade_out, resample_block

_WINDOW_MS = 400
_FIRST_RESERVE_MS = 12  # a block of 10 ms may slip past a tick of the other clock at any time
_MOST_RESERVE_MS = 60
_CALM_WINDOWS = 50  # 20 s without a gap: try a smaller reserve again
_JUMP_ABOVE_MS = 40  # a reserve this far over target is a stall, not drift
_JUMP_AT_START_MS = 8  # in the first window nobody has spoken yet: settle at once
_TOO_MUCH_MS = 10
_TOO_LITTLE_MS = 1
# One sample in 100 ms is 0.125 % of pitch, which nobody hears, and ten times what bad clocks need.
_CORRECTION_EVERY_MS = 100


class Playout:
    """Reads blocks of `block` samples from `ring`, always exactly one per call of `next_block`."""

    def __init__(self, ring: Ring, rate: int, block: int) -> None:
        self._ring = ring
        self._block = block
        self._per_ms = rate // 1000
        self._silence = bytes(block * 2)
        self._window_blocks = max(1, _WINDOW_MS * self._per_ms // block)
        self._reserve = _FIRST_RESERVE_MS * self._per_ms
        self._playing = False
        self._resuming = False
        self._last = self._silence
        self._tail = bytes(HALF_TAPS * 2)
        self._least = 1 << 30
        self._blocks_seen = 0
        self._calm_windows = 0
        self._correction = 0  # samples still to drop (positive) or to insert (negative)
        self._until_correction = 0  # blocks
        self._backlog = 0  # samples to jump over with the next block
        self._settling = True
        self._shortfall = 0  # what the first window has shown to be missing at the start
        self.late = 0  # blocks that were missing when their time came

    def next_block(self) -> bytes:
        """The next block of sound; silence while there is none. Never blocks, never raises."""
        if not self._playing and not self._start():
            return self._silence
        pcm = self._take()
        if pcm is None:
            return self._gap()
        self._observe()
        if self._resuming:
            pcm, self._resuming = fade_in(pcm), False
        self._last, self._tail = pcm, pcm[-HALF_TAPS * 2 :]
        return pcm

    def _start(self) -> bool:
        """Waits until the reserve is there, so that the first burst does not become the first gap."""
        surplus = self._ring.available - self._block - self._reserve - self._shortfall
        if surplus < 0:
            return False
        self._ring.skip(surplus)  # what piled up while nobody listened is only delay
        self._playing = self._resuming = True
        self._shortfall = 0
        self._forget_window()
        return True

    def _gap(self) -> bytes:
        """The writer is late: fade what was heard last, and wait with a larger reserve."""
        self.late += 1
        self._playing = False
        self._correction = self._backlog = 0
        self._calm_windows = 0
        self._settling = True
        self._reserve = min(self._reserve + 10 * self._per_ms, _MOST_RESERVE_MS * self._per_ms)
        faded, self._last = fade_out(self._last), self._silence
        return faded

    def _take(self) -> bytes | None:
        if self._backlog:
            return self._jumped()
        self._until_correction -= 1
        if self._correction and self._until_correction <= 0:
            self._until_correction = _CORRECTION_EVERY_MS * self._per_ms // self._block
            return self._corrected()
        return self._ring.read(self._block)

    def _corrected(self) -> bytes | None:
        sign = 1 if self._correction > 0 else -1
        consumed = self._block + sign
        if self._ring.available < consumed:
            return None
        pcm = resample_block(self._tail, self._ring.peek(consumed + HALF_TAPS), self._block, consumed)
        self._ring.skip(consumed)
        self._correction -= sign
        return pcm

    def _observe(self) -> None:
        self._least = min(self._least, self._ring.available)
        self._blocks_seen += 1
        if self._blocks_seen < self._window_blocks:
            return
        surplus = self._least - self._reserve
        self._calm_windows += 1
        if self._calm_windows >= _CALM_WINDOWS and self._reserve > _FIRST_RESERVE_MS * self._per_ms:
            self._reserve -= 5 * self._per_ms
            self._calm_windows = 0
        if self._settling and surplus < -_TOO_LITTLE_MS * self._per_ms:
            self._playing, self._shortfall, surplus = False, -surplus, 0
        limit = _JUMP_AT_START_MS if self._settling else _JUMP_ABOVE_MS
        self._settling = False
        if surplus > limit * self._per_ms:
            self._backlog = surplus
        elif surplus > _TOO_MUCH_MS * self._per_ms or surplus < -_TOO_LITTLE_MS * self._per_ms:
            most = _WINDOW_MS // _CORRECTION_EVERY_MS
            self._correction = max(-most, min(most, surplus))
        self._forget_window()

    def _jumped(self) -> bytes | None:
        """After a stall of the reader: skips the backlog at once, crossfading over the seam."""
        before = self._ring.peek(self._block)
        self._ring.skip(min(self._backlog, self._ring.available))
        self._backlog = 0
        after = self._ring.read(self._block)
        return None if after is None else crossfade(before, after)

    def _forget_window(self) -> None:
        self._least = 1 << 30
        self._blocks_seen = 0
