"""Client-initiated connections (RFC 5626) as a registrar sees them: who names the flow that its REGISTER came by, and
whether that is one that its calls can come back on.
"""

from __future__ import annotations

import re
from typing import Final

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.uri import NameAddr

_REG_ID: Final = re.compile(r"[0-9]{1,10}")


class FirstHopLacksOutbound(ValueError):
    """The client's proxy does not keep flows: 439 (RFC 5626 11.6)."""


def flow_name(contact: NameAddr) -> tuple[str, str] | None:
    """What a client calls itself and this of its flows, when it does."""
    name, number = (contact.parameters.get(key) for key in ("+sip.instance", "reg-id"))
    return (name, number) if name and number and _REG_ID.fullmatch(number) else None


def is_kept(register: Request, transport: str) -> bool:
    """Whether we do as RFC 5626 6 says: the client asks for it, and may keep its connection alive by CRLF.

    Over UDP that would be STUN (4.4.2), which is not answered here; a proxy's flows are the proxy's affair. Raises
    `FirstHopLacksOutbound`.
    """
    asked = any(tag.lower() == "outbound" for tag in register.entries("Supported"))
    if not asked or register.headers.get("Contact") == "*" or not any(map(flow_name, register.contacts)):
        return False
    if is_direct(register):
        return transport != "UDP"
    first_hop = register.addresses("Path")[-1:]  # each proxy puts itself on top (RFC 3327 5.2)
    if not any("ob" in entry.uri.parameters for entry in first_hop):
        raise FirstHopLacksOutbound
    return True


def is_direct(register: Request) -> bool:
    """Whether it has passed no proxy."""
    return len(register.vias) == 1
