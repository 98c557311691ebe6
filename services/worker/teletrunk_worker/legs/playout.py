"""Plays a ring at the reader's own pace: start-up delay, drift, stalls, gaps.

The reader asks for one block each tick of its clock; the writer's bursts come by another clock. Sound is safe as long
as the burst that completes a block comes before the block's time; how long before is the block's slack, and all that
the playout has to keep up. What lies in the ring beyond whole bursts makes no block safer, and is only delay. Both
ends' ticks pass each other as fast as their clocks drift apart: then a burst more must lie in the ring, or one less.
The playout moves there by playing single blocks one sample shorter or longer. How much slack it needs it learns from
what bursts have used of it in the last 40 seconds; after a gap, which is all that it can tell then, from gaps.
"""

from __future__ import annotations

from collections import deque

from teletrunk_worker.legs.ring import SAMPLE_BYTES, Ring
from teletrunk_worker.legs.stretch import HALF_TAPS, crossfade, fade_in, fade_out, resample_block

_WINDOW_MS = 400
_LEAST_SLACK_MS = 3  # later than in the windows before the writer (or earlier the reader) may be
_MARGIN_STEP_MS = 5  # a gap has shown that this machine needs more; most are of a few milliseconds
_MOST_MARGIN_MS = 50
# 40 s: bursts fewer in the ring must have done so long. What is late once in that time costs one block in 2,000; what a
# busy minute has taught, as when many calls begin, is no delay of the quiet hour after it.
_REMEMBERED_WINDOWS = 100
_REGRET_MS = 3  # beyond what is needed: or drift to and fro would have us take the burst back
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
        self._least = self._margin = _LEAST_SLACK_MS * self._per_ms  # to have always, and to start with
        self._playing = False
        self._resuming = False
        self._last = self._silence
        self._tail = bytes(HALF_TAPS * 2)
        self._least_slack = self._least_surplus = 1 << 30
        self._slacks: deque[int] = deque(maxlen=_REMEMBERED_WINDOWS)  # since the last gap, as if nothing had been moved
        self._moved = 0  # samples left out since; inserted ones count negative
        self._blocks_seen = 0
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
        self._observe(now, age)
        if self._resuming:
            pcm, self._resuming = fade_in(pcm), False
        self._last, self._tail = pcm, pcm[-HALF_TAPS * 2 :]
        return pcm

    def _start(self, age: int) -> bool:
        """Waits until a block has its slack, so that the first burst does not become the first gap."""
        left = self._ring.available - self._block
        if left < 0:
            return False
        bursts = (self._slack_of_last(left, age) - self._margin) // self._burst
        if bursts < 0:
            return False
        # What piled up while nobody listened is only delay.
        self._ring.skip(min(bursts, left // self._burst) * self._burst)
        self._playing = self._resuming = True
        self._forget_window()
        self._blocks_seen = -(self._ring.available // self._block)  # what came at once, after a gap, is not as usual
        return True

    def _slack_of_last(self, left: int, age: int) -> int:
        """As if the last burst were on time, in samples: of several that come at once the others were late."""
        return left // self._burst * self._burst + age

    def _gap(self) -> bytes:
        """The writer is late: fade what was heard last, and wait with a larger margin."""
        self.late += 1
        self._playing = False
        self._correction = self._jump = 0
        self._settling = _SETTLING_WINDOWS
        self._slacks.clear()
        self._moved = 0
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
        source = self._ring.peek(consumed + HALF_TAPS)
        if len(source) < consumed * SAMPLE_BYTES:
            return None
        pcm = resample_block(self._tail, source, self._block, consumed)
        self._ring.skip(consumed)
        self._correction -= sign
        self._moved += sign
        return pcm

    def _observe(self, now: float, age: int) -> None:
        """Notes what the block just read had to spare. A late reader only adds to it, so the least is the true one."""
        self._blocks_seen += 1
        if self._blocks_seen <= 0:
            return
        waited = self._ring.waited(self._burst, now)
        slack = self._slack_of_last(self._ring.available, age) if waited is None else round(waited * self._rate)
        self._least_slack = min(self._least_slack, slack)
        self._least_surplus = min(self._least_surplus, self._ring.available % self._burst - _GUARD)
        if self._blocks_seen == self._window_blocks:
            self._end_window()

    def _end_window(self) -> None:
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
        usual = max(self._slacks) - self._moved if self._slacks else self._margin
        stalled = self._least_slack - usual > _JUMP_ABOVE_MS * self._per_ms
        missed = self._beyond(self._least_slack, usual) if stalled else 0
        self._moved -= missed  # by the reader, which is no news of the writer
        self._slacks.append(self._least_slack + self._moved)
        if stalled:
            return missed
        if self._least_slack < self._least:
            return self._least_surplus - self._burst
        surplus = self._beyond(self._least_slack, self._margin) if self._settling else self._unneeded()
        return 0 if 0 <= surplus <= _AT_EASE else surplus

    def _unneeded(self) -> int:
        if len(self._slacks) < _REMEMBERED_WINDOWS:
            return self._least_surplus
        self._margin = self._least
        return self._beyond(min(self._slacks) - self._moved, self._least)

    def _beyond(self, slack: int, needed: int) -> int:
        """Samples that may go: whole bursts, and what lies beyond them in the ring."""
        bursts = max(0, slack - needed - _REGRET_MS * self._per_ms) // self._burst
        return self._least_surplus + bursts * self._burst

    def _jumped(self) -> bytes | None:
        """Goes to another place in the ring at once, crossfading over the seam."""
        before = self._ring.peek(self._block).ljust(len(self._silence), b"\0")  # before a step back it may be short
        if self._jump > 0:
            self._ring.skip(min(self._jump, self._ring.available))
        else:
            self._ring.rewind(-self._jump)
        self._moved += self._jump
        self._jump = 0
        after = self._ring.read(self._block)
        return None if after is None else crossfade(before, after)

    def _forget_window(self) -> None:
        self._least_slack = self._least_surplus = 1 << 30
        self._blocks_seen = 0
