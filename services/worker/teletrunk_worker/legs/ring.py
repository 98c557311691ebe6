"""A ring of sound in shared memory: one writer, one reader, no locks, no wake-ups.

Each end runs on its own clock in its own process. Positions count samples since the start and only
ever grow; each is written by one side alone, as one aligned 8-byte store. On x86-64, the only
platform that pjsua2's wheel has, stores are seen in the order they were made, so a reader that sees
a position also sees the samples before it.

The other end may have been taken over, and write what it likes: whatever it says of positions and times, no operation
raises, and none takes longer.
"""

from __future__ import annotations

import fcntl
import mmap
import os

SAMPLE_BYTES = 2
# What each side writes at once.
SIP_FRAME_MS = 20
TELEGRAM_FRAME_MS = 10  # what ntgcalls takes and gives: not a sample more or less
_POSITION_BYTES = 8
# Writer's and reader's positions lie on cache lines of their own: they are written 100 times a second
# by different cores.
_WRITTEN_AT = 0
_STAMPED_AT = 8
_READ_AT = 64
_HEADER_BYTES = 128
_RING_SAMPLES = 16_384  # a power of two; 1 s at 16 kHz, 2 s at 8 kHz
_POSITIONS = (1 << 64) - 1
_MOST_AGE_S = 60.0
_REWIND_MARGIN = 1_600  # the writer goes on meanwhile
_RING_BYTES = _HEADER_BYTES + _RING_SAMPLES * SAMPLE_BYTES
# Behind both rings, when each burst came: hosts and Workers of before (they meet while an upgrade goes on) have none.
_BURSTS = 256  # more than a ring holds, of 10 ms at 8 kHz
_TIMES_BYTES = _BURSTS * 8
_PAIR_BYTES = 2 * (_RING_BYTES + _TIMES_BYTES)


class Ring:
    """Sixteen-bit mono samples from one process to another.

    `write` belongs to one thread of one process, `read`, `peek` and `skip` to one thread of one other.
    """

    capacity = _RING_SAMPLES

    def __init__(self, memory: memoryview, times: memoryview) -> None:
        """`times` is where the bursts' times are."""
        self._written = memory[_WRITTEN_AT : _WRITTEN_AT + _POSITION_BYTES].cast("Q")
        self._stamp = memory[_STAMPED_AT : _STAMPED_AT + _POSITION_BYTES].cast("d")
        self._read = memory[_READ_AT : _READ_AT + _POSITION_BYTES].cast("Q")
        self._times = times.cast("d")
        self._samples = memory[_HEADER_BYTES : _HEADER_BYTES + _RING_SAMPLES * SAMPLE_BYTES]

    @property
    def available(self) -> int:
        """Samples written and not yet read; none when that cannot be."""
        samples = self._written[0] - self._read[0]
        return samples if 0 <= samples <= _RING_SAMPLES else 0

    def age(self, now: float) -> float:
        """Seconds since the last write, by the clock whose time the writer gave; 60 at most."""
        return _since(self._stamp[0], now)

    def waited(self, burst: int, now: float) -> float | None:
        """Seconds since the last sample that was read was written, if always `burst` samples are; 60 at most.

        None when the writer is of the version before, which does not say.
        """
        came = self._times[-(-self._read[0] // burst) % _BURSTS]
        return _since(came, now) if came else None

    def write(self, pcm: bytes, now: float) -> bool:
        """Appends whole samples, not none. False, and nothing written, when the reader has stalled for too long."""
        count = len(pcm) // SAMPLE_BYTES
        written = self._written[0]
        if written + count - self._read[0] > _RING_SAMPLES:
            return False
        start = (written % _RING_SAMPLES) * SAMPLE_BYTES
        room = len(self._samples) - start
        if len(pcm) <= room:
            self._samples[start : start + len(pcm)] = pcm
        else:
            self._samples[start:] = pcm[:room]
            self._samples[: len(pcm) - room] = pcm[room:]
        self._stamp[0] = self._times[(written + count) // count % _BURSTS] = now
        self._written[0] = (written + count) & _POSITIONS
        return True

    def peek(self, count: int) -> bytes:
        """The next `count` samples, or as many as there are, without consuming them."""
        count = min(count, self.available)
        start = (self._read[0] % _RING_SAMPLES) * SAMPLE_BYTES
        end = start + count * SAMPLE_BYTES
        if end <= len(self._samples):
            return bytes(self._samples[start:end])
        return bytes(self._samples[start:]) + bytes(self._samples[: end - len(self._samples)])

    def skip(self, count: int) -> None:
        """Consumes `count` samples, which must be available."""
        self._read[0] = (self._read[0] + count) & _POSITIONS

    def rewind(self, count: int) -> None:
        """Makes the last `count` samples that were read readable again, or as many of them as are still there."""
        read = self._read[0]
        kept = _RING_SAMPLES - self.available - _REWIND_MARGIN
        self._read[0] = read - max(0, min(count, kept, read))

    def read(self, count: int) -> bytes | None:
        """Exactly `count` samples, or None when there are fewer."""
        pcm = self.peek(count)
        if len(pcm) < count * SAMPLE_BYTES:
            return None
        self.skip(count)
        return pcm


def _since(stamp: float, now: float) -> float:
    return min(max(0.0, now - stamp), _MOST_AGE_S)  # in this order NaN is 0


class RingPair:
    """The two rings of one call, in anonymous memory that any number of processes may hold.

    The memory lives as long as somebody holds it: a killed process leaves nothing behind.
    """

    def __init__(self, descriptor: int) -> None:
        """Maps a memory file made by `create`, here or in another process. Takes the descriptor over."""
        self.descriptor = descriptor
        known = min(os.fstat(descriptor).st_size, _PAIR_BYTES)
        self._map = mmap.mmap(descriptor, known)
        memory = memoryview(self._map)
        times = memory[2 * _RING_BYTES :] if known == _PAIR_BYTES else memoryview(bytearray(2 * _TIMES_BYTES))
        self.to_telegram = Ring(memory[:_RING_BYTES], times[:_TIMES_BYTES])
        self.to_sip = Ring(memory[_RING_BYTES : 2 * _RING_BYTES], times[_TIMES_BYTES:])

    @classmethod
    def create(cls) -> RingPair:
        descriptor = os.memfd_create("teletrunk-call", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _PAIR_BYTES)
        # Whoever reads beyond a file's end is killed: one host could end the calls of the other.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(descriptor)

    def close(self) -> None:
        """Gives the descriptor back; the mapping itself goes with the last reference to the rings."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
