"""Making and judging sound: tones, recordings, frequency, level, noise, delay.

In plain Python: whoever tries Teletrunk needs no numerical libraries for it.
"""

from __future__ import annotations

import bisect
import cmath
import functools
import itertools
import json
import math
import statistics
import sys
import wave
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Any

Samples = Sequence[int]
_FULL_SCALE = 32_768.0
_WINDOW_S = 0.2
_TORN_DB = 15.0
_MOST_LATE_FRAMES = 5  # that a busy machine's thread catches up with
_CLOCK_OF_S = 1.0  # longer, and the clocks' drift would count as lateness
_LOUD = 500.0  # of 32768: above it something is heard
_LOWEST_HZ = 50.0
_SPECTRUM = 4096  # samples of one spectrum: bins of 2 Hz at 8 kHz, 12 Hz at 48 kHz
_SPECTRA = 3  # taken from as many places, so that one torn place does not decide


class Microphone:
    """When a microphone has the next of its frames, by the monotonic clock: what was missed is not made up for.

    It would be sent faster than it is spoken, and be delay for as long as the call lasts.
    """

    def __init__(self, frame_s: float, now: float) -> None:
        self._frame_s = frame_s
        self._due = now

    def left(self, now: float) -> float:
        """The seconds until the next frame, after one was taken."""
        self._due = max(self._due + self._frame_s, now - _MOST_LATE_FRAMES * self._frame_s)
        return max(0.0, self._due - now)


@dataclass(frozen=True)
class Heard:
    """What a piece of sound is, judged against the one tone that it should be."""

    hz: float
    level_dbfs: float
    snr_db: float  # of the median window
    seconds: float
    disturbed: float  # the share of windows in which the tone is torn (below 15 dB)


def tone(hz: float, start: int, count: int, rate: int, level: float = 0.25) -> bytes:
    """`count` 16-bit samples (at most a second of them) of an endless tone, from sample number `start`."""
    table = _seconds_of(hz, rate, level)
    begin = start % rate * 2
    return table[begin : begin + count * 2]


def played(play: Mapping[str, Any], start: int, count: int, rate: int) -> bytes:
    """What comes next of a tone of so many `hz`, or of a `file`, a WAV file of that rate; silence after its end."""
    if "file" not in play:
        return tone(play["hz"], start, count, rate, play.get("level", 0.25))
    return _file(play["file"], rate)[start * 2 : (start + count) * 2].ljust(count * 2, b"\0")


@functools.cache
def _file(path: str, rate: int) -> bytes:
    samples, of_file = load(Path(path))
    if of_file != rate:
        raise ValueError(f"{path} has {of_file} samples a second, and {rate} are played")
    return _little_endian(samples)


@functools.cache
def _seconds_of(hz: float, rate: int, level: float) -> bytes:
    """Two seconds of the tone. A whole number of hertz starts over each second without a seam."""
    if hz != int(hz):
        raise ValueError("tones are whole hertz")
    second = array("h", (int(math.sin(2 * math.pi * hz * at / rate) * level * 32_767) for at in range(rate)))
    return _little_endian(second + second)


def _little_endian(samples: array[int]) -> bytes:
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()


def samples_of(pcm: bytes) -> array[int]:
    """Little-endian 16-bit PCM as numbers."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def measure(samples: Samples, rate: int) -> Heard:
    """Frequency from the interpolated peak of the spectrum; noise as what is left of a tone fitted per window.

    The phase is free in each window of 0.2 s, so that a stretch by one sample does not count as noise.
    """
    if len(samples) < rate // 2 or not any(samples):
        return Heard(0.0, -120.0, 0.0, len(samples) / rate, 1.0)
    window = int(rate * _WINDOW_S)
    pieces = [samples[start : start + window] for start in range(0, len(samples) - window + 1, window)]
    hz = _settled(pieces, rate, _peak(samples, rate))
    ratios = _signal_to_noise(pieces, hz, rate)
    return Heard(
        round(hz, 2),
        round(20 * math.log10(_rms(samples) / _FULL_SCALE), 1),
        round(statistics.median(ratios), 1),
        round(len(samples) / rate, 2),
        round(sum(ratio < _TORN_DB for ratio in ratios) / len(ratios), 3),
    )


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return float(sum(map(mul, left, right)))


def _rms(samples: Samples) -> float:
    return math.sqrt(_dot(samples, samples) / len(samples))


def _waves(hz: float, rate: int, count: int) -> tuple[list[float], list[float]]:
    turns = [2 * math.pi * hz * at / rate for at in range(count)]
    return [math.sin(turn) for turn in turns], [math.cos(turn) for turn in turns]


def _signal_to_noise(pieces: list[Samples], hz: float, rate: int) -> list[float]:
    """In dB, a window each: the tone of free phase and level that fits best, and what it leaves over."""
    sine, cosine = _waves(hz, rate, len(pieces[0]))
    ss, cc, sc = _dot(sine, sine), _dot(cosine, cosine), _dot(sine, cosine)
    ratios = []
    for piece in pieces:
        s, c = _dot(piece, sine), _dot(piece, cosine)
        fit = (s * s * cc - 2 * s * c * sc + c * c * ss) / (ss * cc - sc * sc)
        ratios.append(10 * math.log10(max(fit, 1e-9) / max(_dot(piece, piece) - fit, 1e-9)))
    return ratios


def fourier(samples: Sequence[complex]) -> list[complex]:
    """The discrete Fourier transform of a power of two of samples."""
    if len(samples) == 1:
        return list(samples)
    even, odd = fourier(samples[::2]), list(map(mul, fourier(samples[1::2]), _twiddles(len(samples))))
    return [a + b for a, b in zip(even, odd, strict=True)] + [a - b for a, b in zip(even, odd, strict=True)]


@functools.cache
def _twiddles(count: int) -> list[complex]:
    return [cmath.exp(-2j * cmath.pi * at / count) for at in range(count // 2)]


@functools.cache
def hann(count: int) -> list[float]:
    return [0.5 - 0.5 * math.cos(2 * math.pi * at / count) for at in range(count)]


def _peak(samples: Samples, rate: int) -> float:
    """Where the mean of a few spectra is highest, between its bins by the parabola through three of them."""
    size = min(_SPECTRUM, 1 << (len(samples).bit_length() - 1))
    last = len(samples) - size
    spectra = []
    for start in {last * number // (_SPECTRA - 1) for number in range(_SPECTRA)}:
        bins = fourier(list(map(mul, samples[start : start + size], hann(size))))
        spectra.append([abs(value) for value in bins[: size // 2]])
    mean = [sum(values) for values in zip(*spectra, strict=True)]
    lowest = max(2, int(_LOWEST_HZ * size / rate))
    top = max(range(lowest, len(mean) - 1), key=mean.__getitem__)
    before, middle, after = (math.log(value + 1e-12) for value in mean[top - 1 : top + 2])
    curve = before - 2 * middle + after
    return (top + (0.5 * (before - after) / curve if curve else 0.0)) * rate / size


def _settled(pieces: list[Samples], rate: int, near: float) -> float:
    """The frequency that most of the sound has: a jump moves the spectrum's peak, but not the usual phase step."""
    if len(pieces) < 3:
        return near
    window = len(pieces[0])
    sine, cosine = _waves(near, rate, window)
    turn = cmath.exp(-2j * cmath.pi * near * window / rate)  # a window starts at a phase of its own
    found = [complex(_dot(piece, cosine), -_dot(piece, sine)) * turn**n for n, piece in enumerate(pieces)]
    steps = [cmath.phase(after * before.conjugate()) for before, after in itertools.pairwise(found)]
    return near + statistics.median(steps) / (2 * math.pi * window / rate)


def onset(samples: Samples, rate: int) -> float | None:
    """Seconds until the sound first stays loud for 10 ms; None when it never does."""
    block = rate // 100
    starts = range(0, len(samples) - block, block // 5)
    return next((start / rate for start in starts if _rms(samples[start : start + block]) > _LOUD), None)


def last_sound(samples: Samples, rate: int) -> float | None:
    """Seconds until the end of the last 10 ms that are loud; None when nothing is."""
    block = rate // 100
    starts = range((len(samples) // block - 1) * block, -1, -block)
    return next(((start + block) / rate for start in starts if _rms(samples[start : start + block]) > _LOUD), None)


class Recording:
    """Sound as it was heard, and when: a piece's time is that of the least late one within a second of it.

    A busy machine's sound goes slower or faster than the world: after minutes its own length says no time.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._pieces: list[bytes] = []
        self._starts: list[float] = []  # of each piece, in seconds of the recording
        self._began: list[float] = []  # the Unix time of the recording's beginning, had all come like this piece
        self._count = 0  # samples

    def add(self, pcm: bytes, now: float) -> None:
        self._starts.append(self._count / self.rate)
        self._began.append(now - self._starts[-1])
        self._pieces.append(pcm)
        self._count += len(pcm) // 2

    def heard_at(self, seconds: float) -> float:
        """The Unix time at which what lies so deep in the recording was heard. Raises ValueError when it is empty."""
        it = max(1, bisect.bisect_right(self._starts, seconds)) - 1
        first = min(bisect.bisect_left(self._starts, seconds - _CLOCK_OF_S), it)
        after = max(bisect.bisect_right(self._starts, seconds + _CLOCK_OF_S), it + 1)
        return min(self._began[first:after]) + seconds

    def samples(self) -> array[int]:
        return samples_of(b"".join(list(self._pieces)))

    def save(self, path: Path) -> None:
        """A WAV file, and beside it the rate and start time as JSON."""
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, self.rate, 0, "NONE", ""))
            file.writeframes(b"".join(list(self._pieces)))
        started_at = self.heard_at(_CLOCK_OF_S) - _CLOCK_OF_S if self._pieces else 0.0
        Path(f"{path}.json").write_text(json.dumps({"rate": self.rate, "started_at": started_at}))

    def onset_at(self) -> float | None:
        """The Unix time at which sound was first heard."""
        found = onset(self.samples(), self.rate)
        return None if found is None else self.heard_at(found)

    def report(self, skip_s: float = 0.5, last_s: float | None = None) -> dict[str, float | None]:
        """What was heard, from `skip_s` after the first sound on: nothing, no seconds either, where there is none.

        With `last_s` only the end, by the recording's own length: a busy phone's clock falls behind the world's.
        """
        samples = self.samples()
        first, last = onset(samples, self.rate), last_sound(samples, self.rate)
        begin = len(samples) if first is None else int((first + skip_s) * self.rate)
        if last_s is not None:
            begin = max(begin, len(samples) - int(last_s * self.rate))
        heard = measure(samples[begin:], self.rate)
        return {
            **vars(heard),
            "onset_at": None if first is None else self.heard_at(first),
            "last_at": None if last is None else self.heard_at(last),
        }


def load(path: Path) -> tuple[array[int], int]:
    with wave.open(str(path), "rb") as file:
        return samples_of(file.readframes(file.getnframes())), file.getframerate()
