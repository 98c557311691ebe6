"""Who has passed a call on before it came to us, as its Diversion says (RFC 5806), or its History-Info (RFC 7044).

For what cannot be read there no call is refused.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.uri import NameAddr

_LONGEST: Final = 64
_HIDDEN: Final = ("full", "uri")  # whom a diversion's own `privacy` names so is nobody's business
_OF_TARGET: Final = re.compile(r"[0-9]{3}")  # RFC 4458
_SIP_CAUSE: Final = re.compile(r"(?i)(?:^|,)\s*SIP\s*;[^,]*?\bcause\s*=\s*([0-9]{3})\b")
# RFC 7544 7.4: what a history's causes are in a Diversion.
_REASONS: Final = {"302": "unconditional", "404": "unknown", "408": "no-answer", "480": "deflection",
                   "486": "user-busy", "487": "deflection", "503": "unavailable"}  # fmt: skip


def diverted_by(invite: Request) -> str:
    """The last who did, and why, in words.

    Empty when nobody did, when one of them wants privacy (RFC 3323 too), or when it cannot be read.
    """
    if any(value.strip().lower() != "none" for value in invite.headers.getlist("Privacy")):
        return ""
    if diversions := _said(invite, "Diversion"):
        last = diversions[0]
        hidden = (last.parameters.get("privacy") or "").lower() in _HIDDEN
        return "" if hidden else _in_words(last, last.parameters.get("reason"))
    return _last_of(_said(invite, "History-Info"))


def _said(invite: Request, name: str) -> list[NameAddr]:
    try:
        return invite.addresses(name)
    except Malformed:
        return []


def _last_of(history: list[NameAddr]) -> str:
    """Of those that the call was for one after the other the last with a cause: by others it has only found its way."""
    for before, after in reversed(list(pairwise(history))):
        if cause := _cause(before, after):
            hidden = any(name == "privacy" and value.lower() != "none" for name, value in before.uri.headers)
            return "" if hidden else _in_words(before, _REASONS.get(cause, cause))
    return ""


def _cause(before: NameAddr, after: NameAddr) -> str:
    """The status for which the call went from one to the other; empty when it is not said."""
    of_target = after.uri.parameters.get("cause") or ""
    if _OF_TARGET.fullmatch(of_target):
        return of_target
    reasons = (_SIP_CAUSE.search(value) for name, value in before.uri.headers if name == "reason")
    return next((found[1] for found in reasons if found), "")


def _in_words(who: NameAddr, why: str | None) -> str:
    return ", ".join(filter(None, map(_plain, (who.uri.number, why))))


def _plain(text: str | None) -> str:
    return "".join(c for c in text or "" if c.isprintable())[:_LONGEST]
