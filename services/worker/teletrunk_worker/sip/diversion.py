"""Who has passed a call on before it came to us, as its Diversion headers say (RFC 5806)."""

from __future__ import annotations

from typing import Final

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.scanner import Malformed

_LONGEST: Final = 64


def diverted_by(invite: Request) -> str:
    """The last who did, and why, in words; empty when nobody did, or it cannot be read: for that no call is refused."""
    try:
        found = invite.addresses("Diversion")
    except Malformed:
        return ""
    if not found:
        return ""
    return ", ".join(filter(None, map(_plain, (found[0].uri.user, found[0].parameters.get("reason")))))


def _plain(text: str | None) -> str:
    return "".join(c for c in text or "" if c.isprintable())[:_LONGEST]
