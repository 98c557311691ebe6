"""Answers of peers in a form that a SIP host can read: it drops without a word what has a header that it cannot.

The edge would take the call for answered then, and nobody would acknowledge it. Requests are refused instead
(`host_limits.simplify`): who has sent one hears why.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from teletrunk_worker.sip.answers import is_tag
from teletrunk_worker.sip.message import Response
from teletrunk_worker.sip.scanner import IN_TOKENS, Malformed
from teletrunk_worker.sip.uri import NameAddr, parse_name_addr

_TOKEN: Final = re.compile(rf"{IN_TOKENS}{{1,60}}")
_MOST_TOKENS: Final = 60
_LISTS: Final = ("Supported", "Allow", "Require")
_WORD = r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#:]|%(?!00))"  # of RFC 3261's users, and what is written besides
_VALUE = r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%(?!00))"
_SIP_URI: Final = re.compile(
    rf"(?i:sips?):(?:{_WORD}{{1,1024}}@)?(?:\[[0-9A-Fa-f:.]{{2,45}}\]|[A-Za-z0-9._\-]{{1,255}})(?::[0-9]{{1,5}})?"
    rf"(?:;{_VALUE}{{1,255}}(?:={_VALUE}{{0,255}})?)*"
)
_OTHER_URI: Final = re.compile(rf"(?!(?i:sips?:))[A-Za-z][A-Za-z0-9+.\-]{{0,20}}:(?:{_WORD}|@){{1,255}}")


def write_legibly(response: Response) -> None:
    """Leaves out what a host could not read, and what it needs in few words."""
    headers = response.headers
    headers.remove("Max-Forwards")  # which no answer has
    for name in _LISTS:
        words = [word.strip() for value in headers.getlist(name) for word in value.split(",")]
        tokens = [word for word in words if _TOKEN.fullmatch(word)][:_MOST_TOKENS]
        headers.setlist(name, [", ".join(tokens)] if tokens else [])
    if (number := response.number("RSeq")) is not None:
        headers.set("RSeq", str(number))
    contact = next((text for text in map(_plain, response.contacts) if text), "")
    headers.setlist("Contact", [contact] if contact else [])
    headers.setlist("Record-Route", [text for text in map(_route, response.addresses("Record-Route")) if text])


def name_parties(response: Response, parties: tuple[str, str]) -> None:
    """Within a dialog, where the request is not known any more, and what the answer calls them cannot be read."""
    for name, party in zip(("From", "To"), parties, strict=True):
        if not _is_plain_party(response.headers.get(name) or ""):
            response.headers.set(name, party)


def _route(entry: NameAddr) -> str:
    """A SIP address: pjsip aborts when the ACK of a 200 has nowhere to go. Behind the bracket `lr` is at a wrong place,
    and meant all the same."""
    target = entry.uri.target
    if not _SIP_URI.fullmatch(target):
        return ""
    return f"<{target};lr>" if "lr" in entry.parameters and "lr" not in entry.uri.parameters else f"<{target}>"


def _plain(entry: NameAddr) -> str:
    """Without a name and parameters of its own, and headers, which pjsip would write into what it says there; empty
    when a host could not read it."""
    target = entry.uri.target
    return f"<{target}>" if _SIP_URI.fullmatch(target) or _OTHER_URI.fullmatch(target) else ""


def _is_plain_party(text: str) -> bool:
    """Whether this is a From or To that a host can read: an address, and a tag."""
    with contextlib.suppress(Malformed):
        party = parse_name_addr(text)
        return bool(_plain(party)) and party.parameters.keys() <= {"tag"} and (not party.tag or is_tag(party.tag))
    return False
