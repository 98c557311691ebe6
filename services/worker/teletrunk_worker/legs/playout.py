"""Plays a ring at the reader's own pace: start-up delay, drift, stalls, gaps.

The reader asks for one block each tick of its clock; the writer's bursts come by another clock. How full the ring is
says little: it jumps by a whole burst when the two clocks' ticks pass each other. What counts is the delay of what is
read, from its writing to its reading: it changes only as fast as the clocks drift apart. Sound is safe as long as this
delay exceeds a burst's length by more than the writer is ever late; the playout keeps it there by playing single
blocks one sample shorter or longer.
"""

from __future__ import annotations

from teletrunk_worker.legs.ring import Ring
from teletrunk_worker.legs.stretch import HALF_TAPS, crossfade, fade_in, fade_out, resample_block

_WINDOW_MS = 400
_FIRST_MARGIN_MS = 8  # how late the writer (or how early the reader) may be
_MARGIN_STEP_MS = 10  # a gap has shown that this machine needs more
_MOST_MARGIN_MS = 50
_CALM_WINDOWS = 50  # 20 s without a gap: try a smaller margin again
_JUMP_ABOVE_MS = 20  # a delay this far over target is a stall, not drift; sample by sample it would take half a minute
_SETTLING_WINDOWS = 2  # nobody has spoken yet: what is wrong is put right by one jump, forward or back
_TOO_MUCH_MS = 8
_TOO_LITTLE_MS = 5
# One sample in 100 ms is 0.125 % of pitch, which nobody hears, and ten times what bad clocks need.
_CORRECTION_EVERY_MS = 100


class Playout:
    """Reads blocks of `block` samples from `ring`, always exactly one per call of `next_block`.

    `burst` is what the writer writes at once. All three in samples at `rate`.
    """

    def __init__(self, ring: Ring, rate: int, block: int, burst: int) -> None:
        self._ring = ring
        self._rate = rate
        self._block = block
        self._burst = burst
        self._per_ms = rate // 1000
        self._silence = bytes(block * 2)
        self._window_blocks = max(1, _WINDOW_MS * self._per_ms // block)
        self._margin = _FIRST_MARGIN_MS * self._per_ms
        self._playing = False
        self._resuming = False
        self._last = self._silence
        self._tail = bytes(HALF_TAPS * 2)
        self._least = 1 << 30
        self._blocks_seen = 0
        self._calm_windows = 0
        self._correction = 0  # samples still to drop (positive) or to insert (negative)
        self._until_correction = 0  # blocks
        self._jump = 0  # samples to skip with the next block; negative: to hear once more
        self._settling = _SETTLING_WINDOWS
        self.late = 0  # blocks that were missing when their time came

    @property
    def _target(self) -> int:
        return self._burst + self._margin

    def next_block(self, now: float) -> bytes:
        """The next block of sound; silence while there is none. Never blocks, never raises.

        `now` is the present time, in seconds of the clock that the writer stamps its bursts with.
        """
        age = round(self._ring.age(now) * self._rate)
        if not self._playing and not self._start(age):
            return self._silence
        pcm = self._take()
        if pcm is None:
            return self._gap()
        self._observe(age)
        if self._resuming:
            pcm, self._resuming = fade_in(pcm), False
        self._last, self._tail = pcm, pcm[-HALF_TAPS * 2 :]
        return pcm

    def _start(self, age: int) -> bool:
        """Waits until the delay is what it should be, so that the first burst does not become the first gap."""
        left = self._ring.available - self._block
        surplus = left + age - self._target
        if left < 0 or surplus < 0:
            return False
        self._ring.skip(min(surplus, left))  # what piled up while nobody listened is only delay
        self._playing = self._resuming = True
        self._forget_window()
        return True

    def _gap(self) -> bytes:
        """The writer is late: fade what was heard last, and wait with a larger margin."""
        self.late += 1
        self._playing = False
        self._correction = self._jump = 0
        self._calm_windows = 0
        self._settling = _SETTLING_WINDOWS
        self._margin = min(self._margin + _MARGIN_STEP_MS * self._per_ms, _MOST_MARGIN_MS * self._per_ms)
        faded, self._last = fade_out(self._last), self._silence
        return faded

    def _take(self) -> bytes | None:
        if self._jump:
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

    def _observe(self, age: int) -> None:
        """Notes the delay of what was just read. A late reader only adds to it, so the least one is the true one."""
        self._least = min(self._least, self._ring.available + age)
        self._blocks_seen += 1
        if self._blocks_seen < self._window_blocks:
            return
        surplus = self._least - self._target
        self._calm_windows += 1
        if self._calm_windows >= _CALM_WINDOWS and self._margin > _FIRST_MARGIN_MS * self._per_ms:
            self._margin -= _MARGIN_STEP_MS // 2 * self._per_ms
            self._calm_windows = 0
        wrong = not -_TOO_LITTLE_MS * self._per_ms <= surplus <= _TOO_MUCH_MS * self._per_ms
        if surplus > _JUMP_ABOVE_MS * self._per_ms or (self._settling and wrong):
            self._jump = surplus
        elif wrong:
            most = _WINDOW_MS // _CORRECTION_EVERY_MS
            self._correction = max(-most, min(most, surplus))
        self._settling = max(0, self._settling - 1)
        self._forget_window()

    def _jumped(self) -> bytes | None:
        """Goes to another place in the ring at once, crossfading over the seam."""
        before = self._ring.peek(self._block).ljust(len(self._silence), b"\0")  # before a step back it may be short
        if self._jump > 0:
            self._ring.skip(min(self._jump, self._ring.available))
        else:
            self._ring.rewind(-self._jump)
        self._jump = 0
        after = self._ring.read(self._block)
        return None if after is None else crossfade(before, after)

    def _forget_window(self) -> None:
        self._least = 1 << 30
        self._blocks_seen = 0
