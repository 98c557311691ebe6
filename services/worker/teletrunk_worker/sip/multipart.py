"""Bodies of several parts (RFC 5621): gateways to telephone networks put a description beside what is theirs."""

from __future__ import annotations

import re
from typing import Final

from teletrunk_worker.sip.scanner import unquoted

_BOUNDARY: Final = re.compile(r';\s*+boundary\s*+=\s*+("(?:[^"\\]++|\\.)*+"|[^\s;"]++)', re.IGNORECASE)
_LONGEST_BOUNDARY: Final = 70  # RFC 2046 5.1.1
_MOST_PARTS: Final = 16
_IS_DESCRIPTION: Final = re.compile(rb"(?i)(?:^|\n)content-type[ \t]*+:[ \t]*+application/sdp[ \t]*+(?:[;\r\n]|$)")


def description_in(body: bytes, content_type: str) -> bytes:
    """The first part that is one; empty when there is none."""
    found = _BOUNDARY.search(content_type)
    boundary = unquoted(found[1]) if found is not None and content_type.lower().startswith("multipart/") else ""
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        return b""
    parts = body.split(b"--" + boundary.encode("utf-8", "surrogateescape"), _MOST_PARTS + 1)
    for part in parts[1 : _MOST_PARTS + 1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if _IS_DESCRIPTION.search(head):
            return content
    return b""
