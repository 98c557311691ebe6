"""Who has passed a call on before it came to us, as its Diversion headers say (RFC 5806)."""

from __future__ import annotations

from typing import Final

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.scanner import Malformed

_LONGEST: Final = 64
_HIDDEN: Final = ("full", "uri")  # whom a diversion's own `privacy` names so is nobody's business


def diverted_by(invite: Request) -> str:
    """The last who did, and why, in words.

    Empty when nobody did, when one of them wants privacy (RFC 3323 too), or when it cannot be read: for that no call
    is refused.
    """
    try:
        found = invite.addresses("Diversion")
    except Malformed:
        return ""
    if not found or any(value.strip().lower() != "none" for value in invite.headers.getlist("Privacy")):
        return ""
    last = found[0].parameters
    if (last.get("privacy") or "").lower() in _HIDDEN:
        return ""
    return ", ".join(filter(None, map(_plain, (found[0].uri.number, last.get("reason")))))


def _plain(text: str | None) -> str:
    return "".join(c for c in text or "" if c.isprintable())[:_LONGEST]
