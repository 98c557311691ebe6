"""What is left of an answer that was written badly (RFC 3261 8.1.3): its status counts, whatever else it says.

Of a final answer that is dropped the one side knows nothing, and the other says it again for half a minute (13.3.1.4,
17.2.1). So what cannot be read is left out, and what an answer only repeats (8.2.6.2) is put back from its request.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from teletrunk_worker.sip.body import DESCRIPTION, cut_to_length
from teletrunk_worker.sip.message import LONGEST_VALUE, MOST_ENTRIES, NUMBERS, Request, Response
from teletrunk_worker.sip.scanner import IN_TOKENS, Malformed, split
from teletrunk_worker.sip.uri import parse_name_addr

_ONCE: Final = ("From", "To", "Call-ID", "CSeq", "Content-Type")
_ADDRESSES: Final = ("Contact", "Route", "Record-Route", "Path")
_TOKEN: Final = re.compile(rf"{IN_TOKENS}{{1,512}}")
_TAG: Final = re.compile(rf";\s*+tag\s*+=\s*+({_TOKEN.pattern})", re.IGNORECASE)


def tidy(response: Response) -> None:
    """Leaves out what cannot be read. Of a body whose length is wrong nothing is left, and `flaw` says why.

    Raises `Malformed` for one of which nobody can tell what it answers.
    """
    headers = response.headers
    for name in _ONCE:
        headers.setlist(name, headers.getlist(name)[:1])
    # SIP allows it within quotes; what is written in C ends there, and goes on with something else.
    headers.remove(*{name for name, value in headers if "\0" in value})
    _ = response.via, response.cseq, response.call_id
    for name in NUMBERS:
        try:
            response.number(name)
        except Malformed:
            headers.remove(name)
    lists_others = response.cseq.method == "REGISTER"  # whoever is registered, too
    for name in _ADDRESSES[1:] if lists_others else _ADDRESSES:
        try:
            response.addresses(name)
        except Malformed:
            headers.setlist(name, readable_entries(response, name))
    _cut_body(response)
    if response.body.startswith(b"v=0") and not headers.getlist("Content-Type"):  # RFC 3261 20.15: it must be there
        headers.set("Content-Type", DESCRIPTION)


def readable_entries(response: Response, name: str, most: int = MOST_ENTRIES) -> list[str]:
    """Of the first `most` entries of a list of addresses those that can be read, as they were written."""
    entries: list[str] = []
    for value in response.headers.getlist(name):
        with contextlib.suppress(Malformed):
            entries += split(value, ",")
        if len(entries) >= most:
            break
    return [entry for entry in entries[:most] if len(entry) <= LONGEST_VALUE and _is_address(entry)]


def _is_address(entry: str) -> bool:
    try:
        parse_name_addr(entry)
    except Malformed:
        return False
    return True


def _cut_body(response: Response) -> None:
    lengths = response.headers.getlist("Content-Length")
    if len(set(lengths)) == 1:  # said again is not said otherwise
        response.headers.set("Content-Length", lengths[0])
    try:
        cut_to_length(response)
    except Malformed as error:
        response.flaw, response.body = str(error), b""
        response.headers.set("Content-Length", "0")


def put_back(response: Response, request: Request) -> None:
    """What it repeats from the request, which is as it was sent to whoever answers: only the tag in To is theirs."""
    response.headers.setlist("Via", request.vias)
    for name in ("From", "Call-ID", "CSeq"):
        response.headers.set(name, request.headers[name])
    tag = _tag(response)
    if request.to.tag or not tag or is_tag(tag):
        response.headers.set("To", request.headers["To"] + (f";tag={tag}" if tag and not request.to.tag else ""))
        return
    response.flaw = "To has a tag that cannot be read"  # and is what its sender knows the dialog by
    if not 200 <= response.code < 300:
        response.headers.set("To", f"{request.headers['To']};tag=unreadable")


def _tag(response: Response) -> str:
    text = response.headers.get("To") or ""
    if _is_address(text):
        return response.to.tag
    found = _TAG.search(text)
    return "" if found is None else found[1]


def is_tag(text: str) -> bool:
    """Whether it is one by RFC 3261's grammar."""
    return _TOKEN.fullmatch(text) is not None


def point_at(response: Response, target: str) -> None:
    """Who takes an INVITE and does not say where it is (RFC 3261 12.1.1) is where the INVITE has found it."""
    if response.code < 300 and not response.contacts:
        response.headers.set("Contact", f"<{target}>")
