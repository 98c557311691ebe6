"""The two tones of a key (ITU-T Q.23), as blocks of sound."""

from __future__ import annotations

import math
from array import array
from functools import cache
from typing import Final

from teletrunk_worker.legs.ring import SIP_FRAME_MS

LOW: Final = (697, 770, 852, 941)
HIGH: Final = (1209, 1336, 1477, 1633)
KEYS: Final = ("123A", "456B", "789C", "*0#D")
_TONE_MS: Final = 120
_LEVEL: Final = 6_000  # of each tone: -12 dBFS together


@cache
def blocks_of(key: str, rate: int) -> tuple[bytes, ...]:
    """None for what is no key."""
    found = [(low, HIGH[row.index(key)]) for low, row in zip(LOW, KEYS, strict=True) if key in row]
    if not found:
        return ()
    turns = [2 * math.pi * hz / rate for hz in found[0]]
    samples = (round(sum(_LEVEL * math.sin(turn * n) for turn in turns)) for n in range(rate * _TONE_MS // 1000))
    sound = array("h", samples).tobytes()
    size = rate * SIP_FRAME_MS // 1000 * 2
    return tuple(sound[start : start + size] for start in range(0, len(sound), size))
