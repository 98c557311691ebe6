"""The clock of a SIP host's conference bridge: each tick moves a block of every call's sound.

pjsua's own clock is a thread, and pjsua closes a call's sockets beside it: a tick that is about to send then finds
none, and pjsip aborts. Here the thread that hangs up is the one that ticks.
"""

from __future__ import annotations

import ctypes
from typing import Final

import pjsua2 as pj

from teletrunk_worker.legs.pjsua_library import pjsua
from teletrunk_worker.legs.ring import SAMPLE_BYTES, SIP_FRAME_MS

_PERIOD_S: Final = SIP_FRAME_MS / 1000
_TOO_LATE_S: Final = 0.5  # as in pjmedia's own clock: what was missed before is not made up for


class _Frame(ctypes.Structure):
    """pjmedia_frame."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buf", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("timestamp", ctypes.c_uint64),
        ("bit_info", ctypes.c_uint32),
    )


_get_frame: Final = pjsua.pjmedia_port_get_frame
_get_frame.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Frame))


class BridgeClock:
    """Belongs to the thread that makes all of pjsua's calls. Made once, when pjsua has started; rests at first."""

    def __init__(self, endpoint: pj.Endpoint, rate: int) -> None:
        self._bridge = ctypes.c_void_p(int(endpoint.audDevManager().setNoDev()))
        self._samples = rate * SIP_FRAME_MS // 1000
        self._nobodys = ctypes.create_string_buffer(self._samples * SAMPLE_BYTES)  # what a sound card would play
        self._timestamp = 0
        self._due = 0.0
        self._runs = False

    def left(self, now: float) -> float | None:
        """Seconds until the next tick, not negative; None while the clock rests."""
        return max(0.0, self._due - now) if self._runs else None

    def run(self, now: float) -> None:
        if not self._runs:
            self._runs, self._due = True, now

    def rest(self) -> None:
        self._runs = False

    def tick(self, now: float) -> None:
        """Moves a block, if its time has come. Those that were missed follow, one at a time."""
        if not self._runs or now < self._due:
            return
        self._due = (now if now - self._due > _TOO_LATE_S else self._due) + _PERIOD_S
        frame = _Frame(0, ctypes.addressof(self._nobodys), len(self._nobodys), self._timestamp, 0)
        _get_frame(self._bridge, ctypes.byref(frame))
        self._timestamp += self._samples
