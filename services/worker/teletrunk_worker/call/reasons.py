"""Why calls end: Reason headers (RFC 3326) with SIP's value, and Q.850's where one fits; which of several counts."""

from __future__ import annotations

from typing import Final

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do

Headers = list[tuple[str, str]]

# RFC 3398 8.2.6.1 and 7.2.4.1, and for 200 the normal end of a call.
_Q850: Final = {200: 16, 404: 1, 408: 102, 480: 19, 486: 17, 503: 41, 600: 17, 603: 21, 604: 1}
_NOT_SELECTED: Final = 26
_OF_A_PERSON: Final = frozenset({408, 480, 486})  # a phone was rung, or would have been
ELSEWHERE: Final[Headers] = [
    ("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),  # by this text phones list no missed call
    ("Reason", f"Q.850;cause={_NOT_SELECTED}"),
]


def headers_of(end: do.EndSip) -> Headers:
    """What the leg's last message says of the reason."""
    if end.elsewhere:
        return ELSEWHERE
    if end.refusal is not None:
        return end.refusal.sip_headers()
    return _of_status(end.status, end.phrase) if end.status else []


def _of_status(status: int, phrase: str) -> Headers:
    headers = [("Reason", f'SIP;cause={status};text="{_quoted(phrase)}"')]
    return [*headers, ("Reason", f"Q.850;cause={_Q850[status]}")] if status in _Q850 else headers


def _quoted(text: str) -> str:
    printable = "".join(c for c in text if c.isprintable())
    return printable.replace("\\", "").replace('"', "'")


def of_hosts_own_end(status: int, phrase: str) -> Refusal | None:
    """Why a SIP host has hung up a call that was up, whom nobody had told to; None when the PBX has: by BYE (200), or
    by an answer of its own (481)."""
    if "session refresh" in phrase:  # pjsip's words for RFC 4028 10
        return Refusal("pbx-unreachable", "the session was not refreshed")
    if "SDP negotiation failed" in phrase:  # an ACK without an answer (RFC 3261 13.2.1)
        return Refusal("no-common-codec", "the ACK has no answer to our offer")
    return Refusal("pbx-unreachable", "no answer within the call") if status == 408 else None


def status_of(end: do.EndSip) -> tuple[int, str]:
    """The answer to an INVITE that waits for one."""
    refusal: Refusal | None = end.refusal
    return (refusal.row.sip_status, refusal.phrase) if refusal is not None else (end.status, end.phrase)


def says_more(one: int, other: int) -> bool:
    """Whether a refusal counts more than another: what a person says more than what a PBX does, that before a fault."""
    return _weight(one) > _weight(other)


def _weight(status: int) -> int:
    if status >= 600:
        return 3  # it holds for wherever the callee is
    if status in _OF_A_PERSON:
        return 2
    return 1 if status < 500 else 0
