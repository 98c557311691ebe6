"""Keys that we press towards a phone, one after the other, by whatever it understands."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

import pjsua2 as pj

if TYPE_CHECKING:
    from teletrunk_worker.legs.host_call import HostCall

_KEY_S: Final = 0.3  # from one key to the next: pjmedia plays an event for 200 ms (RFC 4733)
_PAUSE_S: Final = 0.5
_INFO_MS: Final = 160
_MOST_WAITING: Final = 64


class Keys:
    """Of one call. Used by the pump's thread alone."""

    def __init__(self, call: HostCall) -> None:
        self._call = weakref.proxy(call)  # no cycle: see RtpPeer
        self._waiting: deque[tuple[str, str]] = deque(maxlen=_MOST_WAITING)
        self._next_at = 0.0

    def press(self, digits: str, method: str) -> None:
        self._waiting.extend((digit, method) for digit in digits)

    def go_on(self) -> None:
        """Presses the next one, when its time has come."""
        now = time.monotonic()
        if not self._waiting or now < self._next_at:
            return
        digit, method = self._waiting.popleft()
        self._next_at = now + (_PAUSE_S if digit == "," else _KEY_S)
        if digit != ",":
            self._send(digit, method)

    def _send(self, digit: str, method: str) -> None:
        if method == "inband":
            self._call.port.play_key(digit)
            return
        parameter = pj.CallSendDtmfParam()
        info = method == "info"
        parameter.method = pj.PJSUA_DTMF_METHOD_SIP_INFO if info else pj.PJSUA_DTMF_METHOD_RFC2833
        parameter.duration, parameter.digits = _INFO_MS, digit
        with contextlib.suppress(pj.Error):  # it ended in the same moment, or takes none
            self._call.sendDtmf(parameter)
