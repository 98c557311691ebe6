"""What of a session description (RFC 8866) could harm a media host: addresses that are none.

pjmedia resolves a name in its only thread, and aborts at an address that is too long for its buffer, or of another
family than it says.
"""

from __future__ import annotations

import ipaddress
import re

_LINE_END = re.compile(rb"[\r\n]+")
_CONNECTION = re.compile(rb"[cC]=IN IP([46]) ([0-9A-Fa-f:.]{2,45})")
_RTCP = re.compile(rb"[aA]=rtcp:[0-9]{1,5}(?: IN IP([46]) ([0-9A-Fa-f:.]{2,45}))?", re.IGNORECASE)


def unusable_address(body: bytes) -> str:
    """The first line whose address is no literal address, cut for a reason phrase; empty when all are.

    Whatever the body says that it is: a description may be wrapped in another type.
    """
    for line in _LINE_END.split(body):
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
