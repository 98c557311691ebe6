"""What a Telegram user hears while a PBX holds a call and sends nothing: a few soft notes, made here by nobody."""

from __future__ import annotations

import math
from array import array
from functools import cache

_BLOCK_MS = 20
_NOTE_S = 0.5
_NOTES_HZ = (262, 330, 392, 523, 440, 349, 392, 330)
_LEVEL = 5_000


@cache
def _tune(rate: int) -> bytes:
    """One round; each note fades before the next, so that it can be played over and over."""
    samples, count = array("h"), int(rate * _NOTE_S)
    for hz in _NOTES_HZ:
        turn = 2 * math.pi * hz / rate
        samples.extend(int(_LEVEL * math.sin(turn * n) * math.sin(math.pi * n / count)) for n in range(count))
    return samples.tobytes()


class Music:
    """One call's place in the tune."""

    def __init__(self, rate: int) -> None:
        self._tune = _tune(rate)
        self._bytes = rate * _BLOCK_MS // 1000 * 2
        self._at = 0

    def next_block(self) -> bytes:
        block = self._tune[self._at : self._at + self._bytes]
        self._at = (self._at + self._bytes) % len(self._tune)
        return block
