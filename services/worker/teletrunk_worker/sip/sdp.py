"""What of a session description (RFC 8866) could harm a media host: addresses that are none, or are missing.

pjmedia resolves a name in its only thread, and aborts at an address that is too long for its buffer, or of another
family than it says; pjsua aborts at a medium without one, also at one that is off.
"""

from __future__ import annotations

import ipaddress
import re

_LINE_END = re.compile(rb"[\r\n]+")
_CONNECTION = re.compile(rb"c=IN IP([46]) ([0-9A-Fa-f:.]{2,45})")
_RTCP = re.compile(rb"[aA]=rtcp:[0-9]{1,5}(?: IN IP([46]) ([0-9A-Fa-f:.]{2,45}))?", re.IGNORECASE)


def objection(body: bytes) -> str:
    """What is wrong with the addresses, for a reason phrase; empty when nothing is.

    Whatever the body says that it is: a description may be wrapped in another type.
    """
    lines = _LINE_END.split(body)
    if line := _unusable_address(lines):
        return f"no literal address: {line}"
    return f"no address for {line}" if (line := _without_address(lines)) else ""


def _without_address(lines: list[bytes]) -> str:
    """The first medium that has no connection line: neither its own nor the session's, which stands before them all."""
    medium, has_address, for_all = b"", False, False
    for line in lines:
        if line.startswith(b"m="):
            if medium and not has_address:
                break
            medium, for_all = line, for_all or (not medium and has_address)
            has_address = for_all
        elif line.startswith(b"c="):
            has_address = True
    return medium[:40].decode("ascii", "replace") if medium and not has_address else ""


def _unusable_address(lines: list[bytes]) -> str:
    for line in lines:
        kind = line[:7].lower()
        if kind.startswith(b"c="):
            found = _CONNECTION.fullmatch(line)
        elif kind == b"a=rtcp:":
            found = _RTCP.fullmatch(line)
        else:
            continue
        if found is None or not (found[1] is None or _is_address(found[1], found[2])):
            return line[:40].decode("ascii", "replace")
    return ""


def _is_address(family: bytes, text: bytes) -> bool:
    try:
        address = ipaddress.ip_address(text.decode())
    except ValueError:
        return False
    return address.version == int(family)
