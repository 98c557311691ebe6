"""A call's place in pjsua2's conference bridge, between its phone and its rings."""

from __future__ import annotations

import ctypes
import time
from collections import deque

import pjsua2 as pj

from teletrunk_worker.legs.digits import Digits
from teletrunk_worker.legs.inband import Inband
from teletrunk_worker.legs.key_tones import blocks_of
from teletrunk_worker.legs.music import Music
from teletrunk_worker.legs.playout import Playout
from teletrunk_worker.legs.ring import SIP_FRAME_MS, TELEGRAM_FRAME_MS, RingPair

_BeginEnd = ctypes.c_size_t * 2


def _vector(vector: object) -> tuple[int, int]:
    """Address and length of a SWIG `std::vector<unsigned char>`, which this release cannot copy in bulk."""
    begin, end = _BeginEnd.from_address(int(vector.this))  # type: ignore[attr-defined]
    return begin, end - begin


class SoundPort(pj.AudioMediaPort):  # type: ignore[misc]
    """Stands in the bridge for the Telegram side: what the phone says goes out, what Telegram says comes in."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self._block = rate * SIP_FRAME_MS // 1000
        self._silence = bytes(self._block * 2)
        self._rings: RingPair | None = None
        self._inband: Inband | None = None
        self._music: Music | None = None
        self.held = False  # the phone neither listens nor speaks, or only one of them
        self.digits: Digits | None = None  # of the call
        self.playout: Playout | None = None
        self._key: deque[bytes] = deque()  # what is left of one that is being pressed
        layout = pj.MediaFormatAudio()
        layout.init(pj.PJMEDIA_FORMAT_PCM, rate, 1, SIP_FRAME_MS * 1000, 16)
        self.createPort("rings", layout)

    def attach(self, rings: RingPair, *, hears_digits: bool, plays_music: bool) -> None:
        self.playout = Playout(rings.to_sip, self._rate, self._block, self._rate * TELEGRAM_FRAME_MS // 1000)
        self._inband = Inband(self._rate) if hears_digits else None
        self._music = Music(self._rate) if plays_music else None
        self._rings = rings

    def play_key(self, key: str) -> None:
        self._key.extend(blocks_of(key, self._rate))

    def detach(self) -> None:
        """The phone hears silence, and nobody hears the phone."""
        self._rings = self.playout = self._inband = self._music = None

    def clear(self) -> None:
        """Forgets its call; the bridge has forgotten the connections when the call's own port left it."""
        self.detach()
        self.digits = None
        self._key.clear()
        self.held = False

    def onFrameReceived(self, frame: pj.MediaFrame) -> None:
        rings = self._rings
        if rings is None:
            return
        address, count = _vector(frame.buf)
        pcm = ctypes.string_at(address, count) if count else b""
        music = self._music
        if self.held and music is not None and not any(pcm):  # what the PBX itself plays goes before
            pcm = music.next_block()
        if pcm:
            rings.to_telegram.write(pcm, time.monotonic())
            self._look_for_digit(pcm)

    def _look_for_digit(self, pcm: bytes) -> None:
        inband, digits = self._inband, self.digits
        if inband is not None and digits is not None and (digit := inband.hear(pcm)):
            digits.heard("inband", digit)

    def onFrameRequested(self, frame: pj.MediaFrame) -> None:
        playout = self.playout
        pcm = self._silence if playout is None else playout.next_block(time.monotonic())
        if self._key:
            pcm = self._key.popleft()  # in the sound's place, whose time goes on
        if frame.buf.size() != len(pcm):
            frame.buf.resize(len(pcm))
        ctypes.memmove(_vector(frame.buf)[0], pcm, len(pcm))
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        frame.size = len(pcm)
