"""Refusals of the error contract as SIP answers."""

from __future__ import annotations

from teletrunk.errors import Refusal

from teletrunk_worker.sip import uas
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.scanner import Malformed, TooLarge


def refuse(request: Request, refusal: Refusal) -> Response:
    """The answer of a row."""
    return uas.respond(request, refusal.row.sip_status, refusal.phrase, refusal.sip_headers())


def unreadable(request: Request, error: Malformed) -> Response | None:
    """What is answered to a request in which something cannot be read; None when no answer could be addressed."""
    if not uas.can_be_answered(request):
        return None
    if isinstance(error, TooLarge):
        return refuse(request, Refusal("message-too-large", str(error)))
    return uas.unreadable(request) or refuse(request, Refusal("bad-request", str(error)))
