"""Which PBXs a trunk is known by without a password: no two administrators' trunks by the same. Pure.

Of an outbound trunk it is the registration that tells it from others, so many may register at one PBX; but nobody
else is known by its address. Names are compared as names: where they lead to, only a Worker knows, and only today.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from teletrunk.v1 import trunk_pb2 as pb

_LARGEST: Final = {4: 24, 6: 48}  # of the subnets that one administrator may claim
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_BITS: Final = {4: 32, 6: 128}


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
        pairs = [(self._taken, other.takes | other.registers_at), (self._registered_at, other.takes)]
        return next((mine for ours, theirs in pairs if (mine := ours.first_like(theirs))), "")

    @cached_property
    def _taken(self) -> _Places:
        return _Places(self.takes)

    @cached_property
    def _registered_at(self) -> _Places:
        return _Places(self.registers_at)

    def too_large(self) -> str:
        """A subnet that holds more than one administrator's PBXs; empty: none."""
        return next((claim for claim in sorted(self.takes) if _is_too_large(claim)), "")


class _Places:
    """Names, and networks by the bits of their prefixes: to look one up costs the same, however many there are."""

    def __init__(self, claims: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[tuple[_Network, str]] = []
        self._exactly: dict[tuple[int, int], dict[int, str]] = {}  # by version and length; then by the bits
        self._within: dict[tuple[int, int], dict[int, str]] = {}  # the same, of these and of longer prefixes
        for claim in sorted(claims, reverse=True):  # so that of several the first in order is named
            if (network := _network(claim)) is None:
                self._names.add(claim)
            else:
                self._networks.append((network, claim))
                length = network.prefixlen
                self._exactly.setdefault((network.version, length), {})[_bits(network, length)] = claim

    def first_like(self, claims: Iterable[str]) -> str:
        return min(filter(None, map(self._like, claims)), default="")

    def _like(self, claim: str) -> str:
        """The first of these that it is, or that it overlaps with; empty: none."""
        network = _network(claim)
        if network is None:
            return claim if claim in self._names else ""
        version, own = network.version, network.prefixlen
        found = [self._holding(version, own).get(_bits(network, own), "")]
        for (other_version, length), claims in self._exactly.items():
            if other_version == version and length < own:
                found.append(claims.get(_bits(network, length), ""))
        return min(filter(None, found), default="")

    def _holding(self, version: int, length: int) -> dict[int, str]:
        if (version, length) not in self._within:
            inner = [(network, claim) for network, claim in self._networks if network.version == version]
            self._within[version, length] = {
                _bits(network, length): claim for network, claim in inner if network.prefixlen >= length
            }
        return self._within[version, length]


def _host(where: str) -> str:
    """Without its port; an address as the network that it is alone in."""
    host = where[1:].partition("]")[0] if where.startswith("[") else where.partition(":")[0]
    network = _network(host)
    return host.lower().rstrip(".") if network is None else str(network)


@lru_cache(maxsize=20_000)
def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _bits(network: _Network, length: int) -> int:
    """The first ones of a network's address."""
    return int(network.network_address) >> (_BITS[network.version] - length)


def _is_too_large(claim: str) -> bool:
    network = _network(claim)
    return network is not None and network.prefixlen < _LARGEST[network.version]


def _tell_apart(one: str, other: str) -> bool:
    """By one header's two values: a call that bears either does not bear the other."""
    (name, _, value), (other_name, _, other_value) = one.partition(":"), other.partition(":")
    return bool(name) and name.lower() == other_name.lower() and value.strip() != other_value.strip()
