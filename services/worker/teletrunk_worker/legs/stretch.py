"""Makes a block one sample longer or shorter without a click.

Two clocks that differ by 100 ppm drift apart by one sample in every ten thousand. Taking that one sample
out of (or putting it into) a whole block, by resampling the block with a windowed sinc, shifts the pitch of
10 ms by one percent and leaves no step in the waveform. Dropping or repeating samples would click.
"""

from __future__ import annotations

import math
from functools import cache
from operator import mul
from struct import pack, unpack

HALF_TAPS = 8  # samples that the filter sees on each side


@cache
def _kernels(block: int, consumed: int) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """For each output sample: the first input sample that it sees, and the weights from there on."""
    step = consumed / block
    kernels = []
    for index in range(block):
        position = index * step
        base = int(position)
        fraction = position - base
        weights = [_windowed_sinc(tap - fraction) for tap in range(1 - HALF_TAPS, HALF_TAPS + 1)]
        total = sum(weights)
        kernels.append((base + 1, tuple(weight / total for weight in weights)))
    return tuple(kernels)


def _windowed_sinc(x: float) -> float:
    if abs(x) >= HALF_TAPS:
        return 0.0
    window = 0.5 + 0.5 * math.cos(math.pi * x / HALF_TAPS)
    return window if x == 0 else window * math.sin(math.pi * x) / (math.pi * x)


def resample_block(history: bytes, ahead: bytes, block: int, consumed: int) -> bytes:
    """`consumed` samples played in the time of `block` samples.

    `history` holds the `HALF_TAPS` samples before the block; `ahead` starts with the consumed samples and
    holds at least `HALF_TAPS` more where there are any: those that are not there yet are guessed, by turning the last
    ones around.
    """
    need = HALF_TAPS + consumed + HALF_TAPS
    source = (history + ahead)[: need * 2]
    samples = list(unpack(f"<{len(source) // 2}h", source))
    last = len(samples) - 1
    samples += [2 * samples[last] - samples[last - n] for n in range(1, need - last)]
    output = []
    for first, weights in _kernels(block, consumed):
        value = sum(map(mul, samples[first : first + 2 * HALF_TAPS], weights))
        output.append(max(-32768, min(32767, round(value))))
    return pack(f"<{block}h", *output)


def crossfade(old: bytes, new: bytes) -> bytes:
    """`old` fades out while `new` fades in; both of the same length. For jumps after a stall."""
    count = len(new) // 2
    before, after = unpack(f"<{count}h", old), unpack(f"<{count}h", new)
    return pack(
        f"<{count}h", *((a * (count - i) + b * i) // count for i, (a, b) in enumerate(zip(before, after, strict=True)))
    )


def fade_out(pcm: bytes) -> bytes:
    """The last sound before a gap, falling to silence over the block."""
    return crossfade(pcm, bytes(len(pcm)))


def fade_in(pcm: bytes) -> bytes:
    """The first sound after a gap, rising from silence over the block."""
    return crossfade(bytes(len(pcm)), pcm)
