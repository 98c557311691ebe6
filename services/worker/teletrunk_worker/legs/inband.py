"""Hears DTMF in the sound itself (ITU-T Q.23, Q.24), by the eight tones' share of each 20 ms.

A digit is two tones and little else: speech seldom has so much of its power in two of the eight, and hardly ever
twice in a row.
"""

from __future__ import annotations

import math
from array import array
from functools import cache
from operator import mul

from teletrunk_worker.legs.key_tones import HIGH, KEYS, LOW

_LEAST_POWER = 10_000  # a sample: -50 dBFS
_BOTH = 0.75  # of the power, at least
_EACH = 0.08  # of the power: how unequal the two may be
# A telephone's tones may be beside what they should be, by 1.5 % (Q.24). Where they may be is looked at when that much
# of the power is near; and then more of it has to be there, since a vowel's tones are more often there than exact.
_NEAR, _BESIDE, _BOTH_BESIDE = 0.3, (0.989, 1.011), 0.85
_PRESSED = 2  # blocks of 10 ms apart that agree
_RELEASED = 2

_Waves = tuple[tuple[float, ...], tuple[float, ...]]


@cache
def _waves(rate: int, samples: int, tones: tuple[int, ...], beside: float = 1.0) -> tuple[_Waves, ...]:
    def waves(hz: int) -> _Waves:
        turns = [2 * math.pi * hz * beside * n / rate for n in range(samples)]
        return tuple(map(math.cos, turns)), tuple(map(math.sin, turns))

    return tuple(map(waves, tones))


class Inband:
    """One call's ear for blocks of 20 ms; each is looked at twice, together with what came before it."""

    def __init__(self, rate: int) -> None:
        samples = rate // 50
        self._low, self._high = _waves(rate, samples, LOW), _waves(rate, samples, HIGH)
        self._low_beside = [_waves(rate, samples, LOW, beside) for beside in _BESIDE]
        self._high_beside = [_waves(rate, samples, HIGH, beside) for beside in _BESIDE]
        self._half = array("h", bytes(rate // 100 * 2))
        self._candidate = ""
        self._agreed = 0
        self._missed = 0
        self._pressed = ""

    def hear(self, pcm: bytes) -> str:
        """The digit that begins with this block; empty when none does."""
        block = array("h", pcm)
        middle = len(block) // 2
        overlapping = self._half + block[:middle]
        self._half = block[middle:]
        return self._step(self._key(overlapping)) or self._step(self._key(block))

    def _step(self, key: str) -> str:
        if key == self._pressed:
            self._missed = 0
            return ""
        self._agreed = self._agreed + 1 if key == self._candidate else 1
        self._candidate = key
        if not key:
            self._missed += 1
            if self._missed >= _RELEASED:
                self._pressed = ""
            return ""
        if self._agreed < _PRESSED:
            return ""
        self._pressed, self._missed = key, 0
        return key

    def _key(self, block: array[int]) -> str:
        power = sum(map(mul, block, block))
        if power < _LEAST_POWER * len(block):
            return ""
        whole = power * len(block) / 2
        low = [_power(block, waves) / whole for waves in self._low]
        row = max(range(4), key=low.__getitem__)
        if low[row] < _EACH / 2:
            return ""
        high = [_power(block, waves) / whole for waves in self._high]
        column = max(range(4), key=high.__getitem__)
        shares = low[row], high[column]
        needed = _BOTH
        if _NEAR <= sum(shares) < _BOTH:
            needed = _BOTH_BESIDE
            shares = (
                max(shares[0], *(_power(block, waves[row]) / whole for waves in self._low_beside)),
                max(shares[1], *(_power(block, waves[column]) / whole for waves in self._high_beside)),
            )
        return KEYS[row][column] if min(shares) >= _EACH and sum(shares) >= needed else ""


def _power(block: array[int], waves: _Waves) -> float:
    cosine, sine = waves
    return float(sum(map(mul, block, cosine)) ** 2 + sum(map(mul, block, sine)) ** 2)
