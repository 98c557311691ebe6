"""Where a peer may want sound: not at this machine itself, nor where nobody routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from teletrunk.own_address import address_towards

from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.transport.flow import plain

_MOST_ADDRESSES = 16  # of one description: the system is asked about each
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def objection(body: bytes, source: str, own: Collection[str]) -> str:
    """Why no sound goes to an address of a description, for a reason phrase; empty when it may.

    `source` is where the signalling comes from, `own` are the addresses that this Worker is known by. A PBX on this
    machine may name whatever it has; 0.0.0.0 holds a call (RFC 3264 8.4).
    """
    signalling = _parsed(plain(source))
    near = signalling is not None and (signalling.is_loopback or _is_own(signalling, own))
    texts = set(sdp.addresses(body))
    if len(texts) > _MOST_ADDRESSES:
        return "too many addresses"
    named = [_parsed(text) for text in sorted(texts)]
    for address in [address for address in named if address is not None]:
        if address.is_multicast or (address.version == 4 and address.is_reserved):
            return f"no sound to {address}"
        if not near and (address.is_loopback or _is_own(address, own)):
            return f"no sound to {address}"
        if address.is_link_local and not near and not (signalling is not None and signalling.is_link_local):
            return f"no sound to {address}"
    return ""


def _parsed(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_own(address: _Address, own: Collection[str]) -> bool:
    """By what the system says: to its own addresses it goes from them. Whether it lets us bind one says nothing where
    `ip_nonlocal_bind` is on."""
    if address.is_unspecified:
        return False
    if str(address) in own:
        return True
    try:
        return ipaddress.ip_address(address_towards(str(address))) == address
    except PermissionError:  # a network's broadcast address
        return True
    except OSError:  # no way there
        return False
