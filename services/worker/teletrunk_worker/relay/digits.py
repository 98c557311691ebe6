"""Digits that a PBX sends by INFO, in the one form that a SIP host reads."""

from __future__ import annotations

import re
from typing import Final

from teletrunk_worker.sip.body import HOOK_FLASH, media_type, set_body
from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.uas import is_digits

_SAID = rb"([0-9A-DR*#!]{1,2}|(?:hook-?)?flash|hf)"
_SIGNAL = re.compile(rb"(?im)^[ \t]*Signal[ \t]*=[ \t]*%s[ \t]*\r?$" % _SAID)
_DURATION = re.compile(rb"(?im)^[ \t]*Duration[ \t]*=[ \t]*([0-9]{1,5})[ \t]*\r?$")
_BARE = re.compile(rb"(?i)\s*%s\s*" % _SAID)  # all that there is in application/dtmf
# RFC 4733 3.2; the last one is a flash, which others write as it is on their phones, or by a name.
_BY_NUMBER: Final = dict(zip(("10", "11", "12", "13", "14", "15", "16", "!"), "*#ABCDRR", strict=True))
_FLASH: Final = "R"
_USUAL_MS = 160


def rewrite(info: Request) -> bool:
    """Makes the body what a host reads; false when no digit can be found in it."""
    if not is_digits(info):
        return True
    found = _SIGNAL.search(info.body) or _BARE.fullmatch(info.body)
    said = found[1].decode().upper() if found else ""
    flashes = media_type(info.headers) == HOOK_FLASH or said.endswith("FLASH") or said == "HF"
    digit = _FLASH if flashes else _BY_NUMBER.get(said, said)
    if len(digit) != 1:
        return False
    duration = _DURATION.search(info.body)
    body = b"Signal=%s\r\nDuration=%d\r\n" % (digit.encode(), int(duration[1]) if duration else _USUAL_MS)
    set_body(info, body, "application/dtmf-relay")
    return True
