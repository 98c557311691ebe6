"""A picture of what was heard: time to the right, frequency upwards, a strip for each recording."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from operator import mul
from pathlib import Path

from teletrunk_sandbox.sound import Samples, fourier, hann

_SIZE = 512  # samples of one column
_COLUMNS_A_SECOND = 50
_TOP_HZ = 4000
_FLOOR_DB, _RANGE_DB = 20.0, 105.0
_GAP = 6  # lines between two strips
_BLACK, _GREY, _WHITE = b"\x00\x00\x00", b"\x60\x60\x60", b"\xff\xff\xff"


def draw(path: Path, sounds: Sequence[tuple[Samples, int]]) -> None:
    """A PNG, the first sound at the top. A grey line marks each 1,000 Hz, a tick below each second."""
    strips = [_strip(samples, rate) for samples, rate in sounds]
    width = max(len(strip[0]) for strip in strips) // 3
    lines = [line.ljust(width * 3, b"\xff") for strip in strips for line in (*strip, *[_WHITE] * _GAP)]
    path.write_bytes(_png(width, lines))


def _strip(samples: Samples, rate: int) -> list[bytes]:
    columns = [
        _column(samples[start : start + _SIZE], rate)
        for start in range(0, len(samples) - _SIZE + 1, rate // _COLUMNS_A_SECOND)
    ] or [[_BLACK]]
    lines = [b"".join(colours) for colours in zip(*columns, strict=True)]
    ticks = (_BLACK if number % _COLUMNS_A_SECOND == 0 else _WHITE for number in range(len(columns)))
    return [*reversed(lines), b"".join(ticks)]


def _column(samples: Samples, rate: int) -> list[bytes]:
    """Colours from 0 Hz upwards."""
    hz = rate / _SIZE
    bins = fourier(list(map(mul, samples, hann(_SIZE))))[: int(_TOP_HZ / hz)]
    return [
        _GREY if number and number * hz % 1000 < hz else _colour(20 * math.log10(abs(value) + 1e-9))
        for number, value in enumerate(bins)
    ]


def _colour(decibels: float) -> bytes:
    """From black over blue and red to yellow."""
    heat = min(max((decibels - _FLOOR_DB) / _RANGE_DB, 0.0), 1.0)
    red, green, blue = min(1.0, 2 * heat), max(0.0, 2 * heat - 1), max(0.0, min(2 * heat, 2 - 3 * heat))
    return bytes(round(255 * part) for part in (red, green, blue))


def _png(width: int, lines: Sequence[bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(lines), 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    pixels = zlib.compress(b"".join(b"\x00" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
