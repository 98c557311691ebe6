"""Which trunks' PBXs a call may be of by where it comes from: what the answer costs does not grow with the trunks."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from teletrunk_worker.trunks.book import Network

_BITS: Final = {4: 32, 6: 128}
Mark = tuple[str, str]  # the name and value of a header that tells the PBXs at one address apart
_UNMARKED: Final[Mark] = ("", "")
_Prefix = tuple[int, int, int]  # version, length, the bits
_Key = tuple[_Prefix, Mark]


class Sources:
    """Networks by the bits of their prefix: as many look-ups as there are lengths of prefixes and names of headers."""

    def __init__(self) -> None:
        self._keys: dict[str, frozenset[_Key]] = {}  # by trunk id
        self._trunks: dict[_Key, set[str]] = {}
        self._lengths: Counter[tuple[int, int]] = Counter()  # versions and lengths in use
        self._names: Counter[str] = Counter()  # of headers in use

    def put(self, trunk_id: str, networks: Iterable[Network], header: str = "") -> None:
        """In place of what the trunk had. With a `header`, as a trunk's settings have it, its calls bear that."""
        name, colon, value = header.partition(":")
        mark = (name.strip().lower(), value.strip()) if colon else _UNMARKED
        fresh = frozenset((_prefix(network), mark) for network in networks)
        known = self._keys.pop(trunk_id, frozenset())
        for key in known - fresh:
            self._take(trunk_id, key)
        for key in fresh - known:
            self._add(trunk_id, key)
        if fresh:
            self._keys[trunk_id] = fresh

    def has(self, trunk_id: str, address: str) -> bool:
        """Whether the trunk's PBX may be at this address, whatever its calls bear."""
        prefixes = {prefix for prefix, _ in self._keys.get(trunk_id, ())}
        return not prefixes.isdisjoint(self._prefixes_of(address))

    def at(self, address: str, header: Callable[[str], Iterable[str]]) -> set[str]:
        """The ids of those that a call from this address may be of; `header` gives its values of a header."""
        marks = [_UNMARKED, *((name, value.strip()) for name in self._names if name for value in header(name))]
        keys = ((prefix, mark) for prefix in self._prefixes_of(address) for mark in marks)
        return set().union(*(self._trunks.get(key, ()) for key in keys))

    def _prefixes_of(self, address: str) -> list[_Prefix]:
        try:
            source = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return []
        number, own = int(source), source.version
        return [(own, length, number >> (_BITS[own] - length)) for version, length in self._lengths if version == own]

    def _add(self, trunk_id: str, key: _Key) -> None:
        if key not in self._trunks:
            self._trunks[key] = set()
            (version, length, _), (name, _) = key
            self._lengths[version, length] += 1
            self._names[name] += 1
        self._trunks[key].add(trunk_id)

    def _take(self, trunk_id: str, key: _Key) -> None:
        self._trunks[key].discard(trunk_id)
        if not self._trunks[key]:
            del self._trunks[key]
            (version, length, _), (name, _) = key
            _count_down(self._lengths, (version, length))
            _count_down(self._names, name)


def _count_down(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _prefix(network: Network) -> _Prefix:
    shift = _BITS[network.version] - network.prefixlen
    return network.version, network.prefixlen, int(network.network_address) >> shift
