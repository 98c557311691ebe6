"""A re-INVITE of ours that crossed one of the peer's (491), or came too soon, is said again (RFC 3261 14.1).

pjsip sends one to refresh the session (RFC 4028), or an UPDATE to who knows that, and when it is refused waits for the
end of the session: it hangs up then.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
import weakref
from typing import TYPE_CHECKING, Final

import pjsua2 as pj

if TYPE_CHECKING:
    from teletrunk_worker.legs.host_call import HostCall

_MOST_TRIES: Final = 5
_OWNERS_S: Final = (2.1, 4.0)  # who has made the Call-ID waits longer, so that the two do not cross again
_OTHERS_S: Final = (0.1, 2.0)
# A challenge and a session that is too short pjsip answers by itself; for these the dialog is over.
_OTHERS_CARE: Final = frozenset({401, 407, 408, 422, 481})


class Refresh:
    """Of one call. Used by the pump's thread alone."""

    def __init__(self, call: HostCall, *, owns: bool) -> None:
        """`owns`: the call is ours, and so is its Call-ID."""
        self._call = weakref.proxy(call)  # no cycle: see RtpPeer
        self._wait_s = _OWNERS_S if owns else _OTHERS_S
        self._tries = 0
        self._at = math.inf

    def answered(self, status: int) -> None:
        """Our re-INVITE or UPDATE was, for good."""
        if status < 300:
            self._tries, self._at = 0, math.inf
        elif status not in _OTHERS_CARE and self._tries < _MOST_TRIES:
            self._tries += 1
            self._at = time.monotonic() + random.uniform(*self._wait_s)

    def go_on(self) -> None:
        """Asks again, when its time has come."""
        if time.monotonic() < self._at:
            return
        self._at = math.inf
        with contextlib.suppress(pj.Error):  # the peer asks at this moment, or it has ended
            self._call.reinvite(pj.CallOpParam(True))
