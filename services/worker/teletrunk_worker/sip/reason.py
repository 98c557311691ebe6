"""Why a peer ends a call, as its Reason headers say (RFC 3326)."""

from __future__ import annotations

import re
from typing import Final

from teletrunk_worker.sip.message import Message
from teletrunk_worker.sip.scanner import Malformed, parameters

_CAUSE: Final = re.compile(r"[0-9]{1,3}")


def q850_cause(message: Message) -> int:
    """Q.850's cause; 0 when none is said that can be read: for that no call is kept from ending."""
    try:
        for entry in message.entries("Reason"):
            protocol, _, rest = entry.partition(";")
            cause = parameters(f";{rest}").get("cause") or ""
            if protocol.strip().upper() == "Q.850" and _CAUSE.fullmatch(cause):
                return int(cause)
    except Malformed:
        pass
    return 0
