"""Plays a ring at the reader's own pace: start-up delay, drift, stalls, gaps.

The reader asks for one block each tick of its clock; the writer's bursts come by another clock. Sound is safe as long
as the burst that completes a block comes before the block's time; how long before is the block's slack, and all that
the playout has to keep up. What lies in the ring beyond whole bursts makes no block safer, and is only delay. Both
ends' ticks pass each other as fast as their clocks drift apart: then a burst more must lie in the ring, or one less.
The playout moves there by playing single blocks one sample shorter or longer.
"""

from __future__ import annotations

from collections import deque

from teletrunk_worker.legs.ring import Ring
from teletrunk_worker.legs.stretch import HALF_TAPS, crossfade, fade_in, fade_out, resample_block

_WINDOW_MS = 400
_FIRST_MARGIN_MS = 3  # later than in the window before the writer (or earlier the reader) may be
_MARGIN_STEP_MS = 5  # a gap has shown that this machine needs more; most are of a few milliseconds
_MOST_MARGIN_MS = 50
_CALM_WINDOWS = 50  # 20 s without a gap: try a smaller margin again
_REMEMBERED_WINDOWS = 12  # 5 s: a burst less in the ring must have done so long
_REGRET_MS = 3  # beyond the margin: or drift to and fro would have us take the burst back
_JUMP_ABOVE_MS = 20  # this far from the target is a stall, not drift; sample by sample it would take half a minute
_SETTLING_WINDOWS = 2  # nobody has spoken yet: what is wrong is put right by one jump, forward or back
_GUARD = HALF_TAPS + 2  # samples beyond whole bursts: what a block's resampling looks ahead at
_AT_EASE = 8  # samples more than that do no harm: corrections end up to four beside their mark
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
        self._least_slack = self._least_surplus = 1 << 30
        self._slacks: deque[int] = deque(maxlen=_REMEMBERED_WINDOWS)
        self._blocks_seen = 0
        self._calm_windows = 0
        self._correction = 0  # samples still to drop (positive) or to insert (negative)
        self._until_correction = 0  # blocks
        self._jump = 0  # samples to skip with the next block; negative: to hear once more
        self._settling = _SETTLING_WINDOWS
        self.late = 0  # blocks that were missing when their time came

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
        """Waits until a block has its slack, so that the first burst does not become the first gap."""
        left = self._ring.available - self._block
        if left < 0:
            return False
        bursts = (self._slack(left, age) - self._margin) // self._burst
        if bursts < 0:
            return False
        # What piled up while nobody listened is only delay.
        self._ring.skip(min(bursts, left // self._burst) * self._burst)
        self._playing = self._resuming = True
        self._forget_window()
        return True

    def _slack(self, left: int, age: int) -> int:
        """How long before its time a block's last burst was there, in samples; `left` lie in the ring beyond it."""
        return left // self._burst * self._burst + age

    def _gap(self) -> bytes:
        """The writer is late: fade what was heard last, and wait with a larger margin."""
        self.late += 1
        self._playing = False
        self._correction = self._jump = 0
        self._calm_windows = 0
        self._settling = _SETTLING_WINDOWS
        self._slacks.clear()
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
        """Notes what the block just read had to spare. A late reader only adds to it, so the least is the true one."""
        left = self._ring.available
        self._least_slack = min(self._least_slack, self._slack(left, age))
        self._least_surplus = min(self._least_surplus, left % self._burst - _GUARD)
        self._blocks_seen += 1
        if self._blocks_seen == self._window_blocks:
            self._end_window()

    def _end_window(self) -> None:
        self._slacks.append(self._least_slack)
        self._calm_windows += 1
        if self._calm_windows >= _CALM_WINDOWS and self._margin > _FIRST_MARGIN_MS * self._per_ms:
            self._margin -= _MARGIN_STEP_MS * self._per_ms // 2
            self._calm_windows = 0
        surplus = self._surplus()
        if surplus > _JUMP_ABOVE_MS * self._per_ms or (self._settling and surplus):
            self._jump = surplus
        else:
            most = _WINDOW_MS // _CORRECTION_EVERY_MS
            self._correction = max(-most, min(most, surplus))
        self._settling = max(0, self._settling - 1)
        self._forget_window()

    def _surplus(self) -> int:
        """How many samples there are too many in the ring, or too few (negative)."""
        if self._least_slack < self._margin:
            return self._least_surplus - self._burst
        bursts = self._bursts_too_many(self._least_slack)
        if bursts * self._burst <= _JUMP_ABOVE_MS * self._per_ms and not self._settling:
            long_enough = len(self._slacks) == _REMEMBERED_WINDOWS
            bursts = self._bursts_too_many(min(self._slacks)) if long_enough else 0
        if bursts == 0 and 0 <= self._least_surplus <= _AT_EASE:
            return 0
        return self._least_surplus + bursts * self._burst

    def _bursts_too_many(self, slack: int) -> int:
        return max(0, slack - self._margin - _REGRET_MS * self._per_ms) // self._burst

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
        self._least_slack = self._least_surplus = 1 << 30
        self._blocks_seen = 0
