"""Which trunks' PBXs may come from an address: what an answer costs does not grow with the number of trunks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from teletrunk_worker.trunks.book import Network

_BITS: Final = {4: 32, 6: 128}
_Key = tuple[int, int, int]  # version, length of the prefix, its bits


class Sources:
    """Networks by the bits of their prefix. There are as many look-ups as there are lengths of prefixes."""

    def __init__(self) -> None:
        self._keys: dict[str, frozenset[_Key]] = {}  # by trunk id
        self._trunks: dict[_Key, set[str]] = {}
        self._lengths: dict[tuple[int, int], int] = {}  # by version and length: how many networks have it

    def put(self, trunk_id: str, networks: Iterable[Network]) -> None:
        """In place of those that the trunk had."""
        fresh = frozenset(_key(network) for network in networks)
        known = self._keys.get(trunk_id, frozenset())
        for key in known - fresh:
            self._take(trunk_id, key)
        for key in fresh - known:
            self._add(trunk_id, key)
        if fresh:
            self._keys[trunk_id] = fresh
        else:
            self._keys.pop(trunk_id, None)

    def at(self, address: str) -> set[str]:
        """The ids of the trunks whose PBX may be at this address."""
        try:
            source = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return set()
        version, number = source.version, int(source)
        keys = [(v, length, number >> (_BITS[v] - length)) for v, length in self._lengths if v == version]
        return set().union(*(self._trunks.get(key, ()) for key in keys))

    def _add(self, trunk_id: str, key: _Key) -> None:
        if key not in self._trunks:
            self._trunks[key] = set()
            self._lengths[key[:2]] = self._lengths.get(key[:2], 0) + 1
        self._trunks[key].add(trunk_id)

    def _take(self, trunk_id: str, key: _Key) -> None:
        self._trunks[key].discard(trunk_id)
        if self._trunks[key]:
            return
        del self._trunks[key]
        self._lengths[key[:2]] -= 1
        if not self._lengths[key[:2]]:
            del self._lengths[key[:2]]


def _key(network: Network) -> _Key:
    shift = _BITS[network.version] - network.prefixlen
    return network.version, network.prefixlen, int(network.network_address) >> shift
