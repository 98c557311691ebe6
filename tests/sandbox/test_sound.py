"""What the phones and friends of the tests say about sound: right for a tone, and for one that is torn or noisy."""

from __future__ import annotations

import math
import random
import struct
import zlib
from array import array
from pathlib import Path

import pytest
from teletrunk_sandbox import sound, spectrogram


def _tone(hz: float, rate: int, noise: float = 0.0, seconds: float = 3.0) -> array[int]:
    chance = random.Random(1)
    count = int(seconds * rate)
    return array(
        "h", (int(8000 * math.sin(2 * math.pi * hz * n / rate) + chance.gauss(0, noise)) for n in range(count))
    )


def test_a_microphone_has_its_frames_in_time_and_makes_up_for_none() -> None:
    now, microphone = 100.0, sound.Microphone(0.01, 100.0)
    for _ in range(500):
        now += microphone.left(now)
    assert now == pytest.approx(105.0)
    for _ in range(500):  # a thread that is late by some milliseconds each time keeps the pace
        now += microphone.left(now + 0.004)
    assert now == pytest.approx(110.0, abs=0.01)
    now += 4.0  # its process stood still
    frames, began = 0, now
    while now < began + 1.0:
        frames, now = frames + 1, now + microphone.left(now)
    assert frames <= 106


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("hz", [62.0, 440.0, 620.4, 3000.0])
def test_a_tone_is_known_by_its_frequency_and_level(hz: float, rate: int) -> None:
    heard = sound.measure(_tone(hz, rate, noise=2.0), rate)
    assert heard.hz == pytest.approx(hz, abs=0.05)
    assert heard.level_dbfs == pytest.approx(-15.3, abs=0.1)
    assert heard.snr_db > 60
    assert heard.disturbed == 0


def test_noise_and_tears_are_told_apart() -> None:
    assert sound.measure(_tone(440, 8000, noise=300.0), 8000).snr_db == pytest.approx(25.5, abs=1)
    torn = _tone(440, 8000)
    torn[8000:9600] = array("h", bytes(3200))
    heard = sound.measure(torn, 8000)
    assert heard.hz == 440.0 and heard.disturbed == pytest.approx(1 / 15, abs=0.001)


def test_silence_has_no_frequency() -> None:
    assert sound.measure(array("h", bytes(16_000)), 8000).hz == 0.0


def test_first_and_last_sound_are_found_to_a_hundredth_of_a_second() -> None:
    recording = sound.Recording(8000)
    recording.add(bytes(8000), now=100.0)
    recording.add(sound.tone(440, 0, 8000, 8000), now=100.5)
    recording.add(bytes(8000), now=101.5)
    report = recording.report()
    assert report["onset_at"] == pytest.approx(100.5, abs=0.01)
    assert report["last_at"] == pytest.approx(101.5, abs=0.01)
    assert report["hz"] == pytest.approx(440.0, abs=0.05)


def test_sound_that_comes_slower_than_the_world_goes_has_its_time_all_the_same() -> None:
    """A quarter of a second in two minutes; and one piece in ten comes 20 ms after its time."""
    recording = sound.Recording(8000)
    for piece in range(12_000):
        pcm = sound.tone(440, piece * 80, 80, 8000) if piece >= 11_900 else bytes(160)
        recording.add(pcm, now=100.0 + piece * 0.01002 + (0.02 if piece % 10 == 0 else 0.0))
    assert recording.onset_at() == pytest.approx(100.0 + 11_900 * 0.01002, abs=0.015)


def test_before_the_first_sound_no_time_has_passed() -> None:
    """Whoever listens from here on does not miss what is said next."""
    recording = sound.Recording(8000)
    recording.add(bytes(16_000), now=100.0)
    assert recording.report(0.0)["seconds"] == 0.0
    recording.add(sound.tone(440, 0, 8000, 8000), now=101.0)
    assert recording.report(0.0)["seconds"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_the_picture_shows_the_tone_at_its_height(rate: int, tmp_path: Path) -> None:
    spectrogram.draw(tmp_path / "one.png", [(_tone(2500, rate, seconds=1.0), rate)])
    picture = (tmp_path / "one.png").read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    start = picture.index(b"IDAT") + 4
    lines = zlib.decompress(picture[start : picture.index(b"IEND") - 8])
    middle = [lines[line * (1 + 3 * width) + 1 + 3 * (width // 2) :][:3] for line in range(height - 8)]
    brightest = max(range(len(middle)), key=lambda line: sum(middle[line][:2]))
    assert 4000 * (1 - brightest / 256) == pytest.approx(2500, abs=20)
