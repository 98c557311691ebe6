"""Which PBXs a trunk is known by without a password: no two administrators' trunks by the same. Pure.

Of an outbound trunk it is the registration that tells it from others, so many may register at one PBX; but nobody
else is known by its address. Names are compared as names: where they lead to, only a Worker knows, and only today.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from teletrunk.v1 import trunk_pb2 as pb

_LARGEST: Final = {4: 24, 6: 48}  # of the subnets that one administrator may claim


@dataclass(frozen=True)
class Claims:
    """Host names and networks: those that make a PBX's calls the trunk's, and those that it only registers at."""

    takes: frozenset[str]
    registers_at: frozenset[str]
    header: str = ""

    @classmethod
    def of(cls, options: pb.TrunkOptions, trusted: Iterable[str]) -> Claims | None:
        """None of a trunk whose PBX registers: it shows its password."""
        if options.kind == pb.TRUNK_KIND_UNSPECIFIED:
            return None
        places = frozenset(_host(where) for where in (options.pbx.address, options.pbx.proxy) if where)
        if options.kind == pb.TRUNK_KIND_PEER:
            return cls(frozenset(trusted) | places, frozenset(), options.pbx.header)
        return cls(frozenset(trusted), places)

    def shared_with(self, other: Claims) -> str:
        """What both are known by; empty: nothing, or their headers tell them apart."""
        if _tell_apart(self.header, other.header):
            return ""
        pairs = [(self.takes, other.takes | other.registers_at), (self.registers_at, other.takes)]
        return next((mine for ours, theirs in pairs for mine in sorted(ours) if _is_among(mine, theirs)), "")

    def too_large(self) -> str:
        """A subnet that holds more than one administrator's PBXs; empty: none."""
        return next((claim for claim in sorted(self.takes) if _is_too_large(claim)), "")


def _host(where: str) -> str:
    """Without its port; an address as the network that it is alone in."""
    host = where[1:].partition("]")[0] if where.startswith("[") else where.partition(":")[0]
    network = _network(host)
    return host.lower().rstrip(".") if network is None else str(network)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _is_among(claim: str, others: frozenset[str]) -> bool:
    mine = _network(claim)
    if mine is None:
        return claim in others
    return any((theirs := _network(other)) is not None and mine.overlaps(theirs) for other in others)


def _is_too_large(claim: str) -> bool:
    network = _network(claim)
    return network is not None and network.prefixlen < _LARGEST[network.version]


def _tell_apart(one: str, other: str) -> bool:
    """By one header's two values: a call that bears either does not bear the other."""
    (name, _, value), (other_name, _, other_value) = one.partition(":"), other.partition(":")
    return bool(name) and name.lower() == other_name.lower() and value.strip() != other_value.strip()
