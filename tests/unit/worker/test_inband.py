"""Keys heard in the sound itself: as they may be sent (ITU-T Q.24), and not as they may not."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

import pytest
from teletrunk_worker.legs.inband import Inband
from teletrunk_worker.legs.key_tones import HIGH, KEYS, LOW

_TONES = {key: (low, high) for low, row in zip(LOW, KEYS, strict=True) for high, key in zip(HIGH, row, strict=True)}
ALL = "".join(KEYS)


def pressed(
    keys: str,
    *,
    ms: int = 70,
    gap_ms: int = 60,
    beside: float = 1.0,
    dbfs: float = -12.0,
    twist_db: float = 0.0,
    rate: int = 8_000,
) -> Iterator[int]:
    """Samples. `beside` is how far its tones are from what they should be, `twist_db` how much louder the high one."""
    strong = 10 ** (twist_db / 20)
    level = 32_768 * 10 ** (dbfs / 20) / math.hypot(1.0, strong) * math.sqrt(2)
    for key in keys:
        low, high = (2 * math.pi * hz * beside / rate for hz in _TONES[key])
        for n in range(rate * ms // 1_000):
            yield max(-32_768, min(32_767, int(level * (math.sin(low * n) + strong * math.sin(high * n)))))
        yield from [0] * (rate * gap_ms // 1_000)


def heard(samples: Iterator[int], rate: int = 8_000, lead: int = 0) -> str:
    pcm = array("h", [0] * lead + list(samples) + [0] * rate)
    ear, block = Inband(rate), rate // 50
    return "".join(ear.hear(pcm[at : at + block].tobytes()) for at in range(0, len(pcm) - block + 1, block))


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("beside", [0.985, 0.99, 1.0, 1.01, 1.015])
def test_tones_may_be_a_little_beside_what_they_should_be(beside: float, rate: int) -> None:
    """Q.24: 1.5 %. Of those nearly no key was heard: 20 ms tell tones apart that are 25 Hz from each other."""
    assert heard(pressed(ALL, beside=beside, rate=rate), rate) == ALL


@pytest.mark.parametrize("beside", [0.96, 0.965, 1.035, 1.04])
def test_tones_that_are_others_are_no_key(beside: float) -> None:
    assert heard(pressed(ALL, beside=beside)) == ""


@pytest.mark.parametrize("dbfs", [-3, -10, -20, -30])
@pytest.mark.parametrize("twist_db", [-8, 0, 4, 8])
def test_loud_and_soft_ones_and_unequal_ones_are_heard(dbfs: float, twist_db: float) -> None:
    assert heard(pressed(ALL, dbfs=dbfs, twist_db=twist_db)) == ALL


@pytest.mark.parametrize("lead", range(0, 160, 40))
def test_short_ones_are_heard_wherever_they_begin(lead: int) -> None:
    assert heard(pressed("1122" + ALL, ms=40, gap_ms=40), lead=lead) == "1122" + ALL
