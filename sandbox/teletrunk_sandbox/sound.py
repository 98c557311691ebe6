"""Making and judging sound: tones, recordings, frequency, level, noise, delay, pictures."""

from __future__ import annotations

import functools
import json
import math
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
_FULL_SCALE = 32_768.0
_WINDOW_S = 0.2
_TORN_DB = 15.0


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


@functools.cache
def _seconds_of(hz: float, rate: int, level: float) -> bytes:
    """Two seconds of the tone. A whole number of hertz starts over each second without a seam."""
    if hz != int(hz):
        raise ValueError("tones are whole hertz")
    at = np.arange(2 * rate)
    return bytes((np.sin(2 * math.pi * hz * at / rate) * level * 32_767).astype("<i2").tobytes())


def measure(samples: Samples, rate: int) -> Heard:
    """Frequency from the interpolated peak of the spectrum; noise as what is left of a tone fitted per window.

    The phase is free in each window of 0.2 s, so that a stretch by one sample does not count as noise.
    """
    if len(samples) < rate // 2 or not samples.any():
        return Heard(0.0, -120.0, 0.0, len(samples) / rate, 1.0)
    window = int(rate * _WINDOW_S)
    hz = _settled(samples, rate, _peak(samples, rate), window)
    at = np.arange(window) / rate
    basis = np.stack([np.sin(2 * math.pi * hz * at), np.cos(2 * math.pi * hz * at)], axis=1)
    ratios = []
    for start in range(0, len(samples) - window + 1, window):
        piece = samples[start : start + window]
        fit = basis @ np.linalg.lstsq(basis, piece, rcond=None)[0]
        noise = float(np.sum((piece - fit) ** 2))
        ratios.append(10 * math.log10(max(float(np.sum(fit**2)), 1e-9) / max(noise, 1e-9)))
    rms = float(np.sqrt(np.mean(samples**2)))
    return Heard(
        round(hz, 2),
        round(20 * math.log10(rms / _FULL_SCALE), 1),
        round(float(np.median(ratios)), 1),
        round(len(samples) / rate, 2),
        round(sum(ratio < _TORN_DB for ratio in ratios) / len(ratios), 3),
    )


def _peak(samples: Samples, rate: int) -> float:
    size = 1 << (len(samples) * 4 - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    spectrum[: max(2, int(50 * size / rate))] = 0
    top = int(spectrum.argmax())
    if 0 < top < len(spectrum) - 1:
        before, middle, after = np.log(spectrum[top - 1 : top + 2] + 1e-12)
        top_exact = top + 0.5 * (before - after) / (before - 2 * middle + after)
        return float(top_exact * rate / size)
    return float(top * rate / size)


def _settled(samples: Samples, rate: int, near: float, window: int) -> float:
    """The frequency that most of the sound has: a jump moves the spectrum's peak, but not the usual phase step."""
    starts = range(0, len(samples) - window + 1, window)
    phases = [
        np.angle(np.sum(samples[s : s + window] * np.exp(-2j * np.pi * near * np.arange(s, s + window) / rate)))
        for s in starts
    ]
    if len(phases) < 3:
        return near
    steps = np.angle(np.exp(1j * np.diff(phases)))
    return near + float(np.median(steps)) / (2 * math.pi * window / rate)


def onset(samples: Samples, rate: int, level: float = 500.0) -> float | None:
    """Seconds until the sound first stays above `level` (of 32768) for 10 ms; None when it never does."""
    block = rate // 100
    for start in range(0, len(samples) - block, block // 5):
        if np.sqrt(np.mean(samples[start : start + block] ** 2)) > level:
            return start / rate
    return None


def last_sound(samples: Samples, rate: int, level: float = 500.0) -> float | None:
    """Seconds until the end of the last 10 ms that are above `level`; None when nothing is."""
    block = rate // 100
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    loud = np.flatnonzero(np.sqrt(np.mean(blocks**2, axis=1)) > level) if len(blocks) else np.array([])
    return (int(loud[-1]) + 1) * block / rate if len(loud) else None


class Recording:
    """Sound as it was heard, with the time of its first sample."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.started_at = 0.0
        self._pieces: list[bytes] = []

    def add(self, pcm: bytes, now: float) -> None:
        if not self._pieces:
            self.started_at = now
        self._pieces.append(pcm)

    def samples(self, skip_s: float = 0.0) -> Samples:
        joined = np.frombuffer(b"".join(list(self._pieces)), dtype="<i2").astype(np.float64)
        return joined[int(skip_s * self.rate) :]

    def save(self, path: Path) -> None:
        """A WAV file, and beside it the rate and start time as JSON."""
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, self.rate, 0, "NONE", ""))
            file.writeframes(b"".join(list(self._pieces)))
        Path(f"{path}.json").write_text(json.dumps({"rate": self.rate, "started_at": self.started_at}))

    def onset_at(self) -> float | None:
        """The Unix time at which sound was first heard."""
        found = onset(self.samples(), self.rate)
        return None if found is None else self.started_at + found

    def last_at(self) -> float | None:
        """The Unix time at which sound was heard last."""
        found = last_sound(self.samples(), self.rate)
        return None if found is None else self.started_at + found

    def report(self, skip_s: float = 0.5) -> dict[str, float | None]:
        """What was heard, from `skip_s` after the first sound on."""
        first = onset(self.samples(), self.rate)
        heard = measure(self.samples((first or 0.0) + skip_s), self.rate)
        return {**vars(heard), "onset_at": self.onset_at(), "last_at": self.last_at()}


def load(path: Path) -> tuple[Samples, int]:
    with wave.open(str(path), "rb") as file:
        raw = file.readframes(file.getnframes())
        return np.frombuffer(raw, dtype="<i2").astype(np.float64), file.getframerate()


def spectrogram_png(path: Path, sounds: dict[str, tuple[Samples, int]]) -> None:
    """One picture, a spectrogram a sound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(sounds), 1, figsize=(9, 3 * len(sounds)), squeeze=False)
    for axis, (name, (samples, rate)) in zip(axes[:, 0], sounds.items(), strict=True):
        axis.specgram(samples + np.random.default_rng(0).normal(0, 0.5, len(samples)), NFFT=512, Fs=rate, noverlap=256)
        axis.set(title=name, xlabel="seconds", ylabel="Hz", ylim=(0, min(4000, rate / 2)))
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
