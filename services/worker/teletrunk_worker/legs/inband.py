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
_PRESSED = 2  # blocks of 10 ms apart that agree
_RELEASED = 2

_Waves = tuple[tuple[float, ...], tuple[float, ...]]


@cache
def _waves(rate: int, samples: int) -> tuple[tuple[_Waves, ...], tuple[_Waves, ...]]:
    def waves(hz: int) -> _Waves:
        turns = [2 * math.pi * hz * n / rate for n in range(samples)]
        return tuple(map(math.cos, turns)), tuple(map(math.sin, turns))

    return tuple(map(waves, LOW)), tuple(map(waves, HIGH))


class Inband:
    """One call's ear for blocks of 20 ms; each is looked at twice, together with what came before it."""

    def __init__(self, rate: int) -> None:
        self._low, self._high = _waves(rate, rate // 50)
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
        if low[row] < _EACH:
            return ""
        high = [_power(block, waves) / whole for waves in self._high]
        column = max(range(4), key=high.__getitem__)
        if high[column] < _EACH or low[row] + high[column] < _BOTH:
            return ""
        return KEYS[row][column]


def _power(block: array[int], waves: _Waves) -> float:
    cosine, sine = waves
    return float(sum(map(mul, block, cosine)) ** 2 + sum(map(mul, block, sine)) ** 2)
