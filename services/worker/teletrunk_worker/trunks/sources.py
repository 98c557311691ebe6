"""Which trunks' PBXs a call may be of by where it comes from: what the answer costs does not grow with the trunks."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from teletrunk_worker.trunks.book import Network

_BITS: Final = {4: 32, 6: 128}
Mark = tuple[str, str]  # the name and value of a header that tells the PBXs at one address apart
_UNMARKED: Final[Mark] = ("", "")
_Prefix = tuple[int, int, int]  # version, length, the bits
_Key = tuple[_Prefix, Mark]
Header = Callable[[str], Iterable[str]]  # gives a call's values of a header


def _no_header(name: str) -> Iterable[str]:
    return ()


class Sources:
    """Networks by the bits of their prefix: as many look-ups as there are lengths of prefixes and names of headers."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[frozenset[_Key], str]] = {}  # by trunk id, with its owner
        self._trunks: dict[_Key, dict[str, set[str]]] = {}  # by owner
        self._lengths: Counter[tuple[int, int]] = Counter()  # versions and lengths in use
        self._names: Counter[str] = Counter()  # of headers in use

    def put(self, trunk_id: str, networks: Iterable[Network], header: str = "", owner: str = "") -> None:
        """In place of what the trunk had. With a `header`, as a trunk's settings have it, its calls bear that."""
        name, colon, value = header.partition(":")
        mark = (name.strip().lower(), value.strip()) if colon else _UNMARKED
        fresh = frozenset((_prefix(network), mark) for network in networks)
        known, before = self._keys.pop(trunk_id, (frozenset[_Key](), owner))
        stays = fresh & known if before == owner else frozenset[_Key]()
        for key in known - stays:
            self._take(trunk_id, key, before)
        for key in fresh - stays:
            self._add(trunk_id, key, owner)
        if fresh:
            self._keys[trunk_id] = fresh, owner

    def has(self, trunk_id: str, address: str) -> bool:
        """Whether the trunk's PBX may be at this address, whatever its calls bear."""
        keys, _ = self._keys.get(trunk_id, (frozenset[_Key](), ""))
        return not {prefix for prefix, _ in keys}.isdisjoint(self._prefixes_of(address))

    def at(self, address: str, header: Header) -> set[str]:
        """The ids of those that a call from this address may be of; `header` gives its values of a header."""
        return set().union(*(trunks for of_owner in self._found(address, header) for trunks in of_owner.values()))

    def only(self, address: str) -> str:
        """The id of the one that there is, of those without a header; empty for none, or for several."""
        one = ""
        for of_owner in self._found(address, _no_header):
            for trunks in of_owner.values():
                first = next(iter(trunks))
                if len(trunks) > 1 or one not in ("", first):
                    return ""
                one = first
        return one

    def of_another(self, owner: str, address: str, header: Header) -> str:
        """The id of one that a call from this address may be of, and which is not this owner's; empty for none."""
        for of_owner in self._found(address, header):
            for other, trunks in of_owner.items():  # two of them at most are looked at
                if other != owner:
                    return next(iter(trunks))
        return ""

    def _found(self, address: str, header: Header) -> Iterator[dict[str, set[str]]]:
        marks = [_UNMARKED, *((name, value.strip()) for name in self._names if name for value in header(name))]
        keys = ((prefix, mark) for prefix in self._prefixes_of(address) for mark in marks)
        return (self._trunks[key] for key in keys if key in self._trunks)

    def _prefixes_of(self, address: str) -> list[_Prefix]:
        try:
            source = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return []
        number, own = int(source), source.version
        return [(own, length, number >> (_BITS[own] - length)) for version, length in self._lengths if version == own]

    def _add(self, trunk_id: str, key: _Key, owner: str) -> None:
        if key not in self._trunks:
            self._trunks[key] = {}
            (version, length, _), (name, _) = key
            self._lengths[version, length] += 1
            self._names[name] += 1
        self._trunks[key].setdefault(owner, set()).add(trunk_id)

    def _take(self, trunk_id: str, key: _Key, owner: str) -> None:
        of_owner = self._trunks[key]
        of_owner[owner].discard(trunk_id)
        if not of_owner[owner]:
            del of_owner[owner]
        if not of_owner:
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
