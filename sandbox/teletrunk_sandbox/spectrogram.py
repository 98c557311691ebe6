"""A picture of what was heard: time to the right, frequency upwards, a strip for each recording."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from operator import mul
from pathlib import Path

from teletrunk_sandbox.sound import Samples, fourier, hann

_RATE = 8000  # of what is drawn: up to 4,000 Hz
_SIZE = 512  # samples of one column
_COLUMNS_A_SECOND = 50
_HZ = _RATE / _SIZE  # of one line
_FLOOR_DB, _RANGE_DB = 50.0, 75.0
_GAP = 6  # lines between two strips
_BLACK, _GREY, _WHITE = b"\x00\x00\x00", b"\x60\x60\x60", b"\xff\xff\xff"


def draw(path: Path, sounds: Sequence[tuple[Samples, int]]) -> None:
    """A PNG, the first sound at the top. A grey line marks each 1,000 Hz, a tick below each second."""
    strips = [_strip(samples, rate) for samples, rate in sounds]
    width = max(len(strip[0]) for strip in strips) // 3
    lines = [line.ljust(width * 3, b"\xff") for strip in strips for line in (*strip, *[_WHITE] * _GAP)]
    path.write_bytes(_png(width, lines))


def _strip(samples: Samples, rate: int) -> list[bytes]:
    narrow = _narrowed(samples, rate // _RATE)
    starts = range(0, len(narrow) - _SIZE + 1, _RATE // _COLUMNS_A_SECOND)
    columns = [_column(narrow[start : start + _SIZE]) for start in starts] or [[_BLACK]]
    lines = [b"".join(colours) for colours in zip(*columns, strict=True)]
    ticks = (_BLACK if number % _COLUMNS_A_SECOND == 0 else _WHITE for number in range(len(columns)))
    return [*reversed(lines), b"".join(ticks)]


def _narrowed(samples: Samples, step: int) -> Samples:
    """The means of so many samples each: what is above the picture's top is damped, and nobody plays it."""
    return [sum(samples[start : start + step]) // step for start in range(0, len(samples) - step + 1, step)]


def _column(samples: Samples) -> list[bytes]:
    """Colours from 0 Hz upwards."""
    bins = fourier(list(map(mul, samples, hann(_SIZE))))[: _SIZE // 2]
    return [
        _GREY if number and number * _HZ % 1000 < _HZ else _colour(20 * math.log10(abs(value) + 1e-9))
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
