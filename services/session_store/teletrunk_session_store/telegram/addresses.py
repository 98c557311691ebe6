"""Where a data centre is reached: its addresses in turn, the one that answered last first.

A network may close a port, or have no IPv4. Telegram's data centres listen on several ports and have an IPv6 address.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pyrogram.connection import Connection

Address = tuple[str, int]

_ADDRESS_S = 4.0  # for one of several
_PORTS: Final = (443, 5222, 80)
_IPV6: Final = {
    1: "2001:b28:f23d:f001::a",
    2: "2001:67c:4e8:f002::a",
    3: "2001:b28:f23d:f003::a",
    4: "2001:67c:4e8:f004::a",
    5: "2001:b28:f23f:f005::a",
}


class Addresses:
    """Of all data centres; shared by the clients of a process, so that each learns from the others."""

    def __init__(self, own: str | None) -> None:
        """`own` are those of a data centre that is not Telegram's: host:port, with commas between."""
        self._own = [_split(address) for address in own.split(",")] if own else []
        self._answered: dict[int, Address] = {}

    def of(self, dc_id: int, first: Address) -> list[Address]:
        """`first` is the one that the library knows."""
        last = self._answered.get(dc_id)
        return sorted(self._own or _telegrams(dc_id, first), key=lambda address: address != last)

    def answered(self, dc_id: int, address: Address) -> None:
        self._answered[dc_id] = address


def _telegrams(dc_id: int, first: Address) -> list[Address]:
    host, port = first
    by_ipv6 = [(_IPV6[dc_id], port)] if dc_id in _IPV6 else []
    return [first, *by_ipv6, *((host, other) for other in _PORTS if other != port)]


def _split(address: str) -> Address:
    host, _, port = address.strip().rpartition(":")
    return host.strip("[]"), int(port)


def connection_by(addresses: Addresses, connection: type[Connection]) -> type[Connection]:
    """That connection, by whatever address answers. It is made anew for each: so is what it asks before."""

    class AnyAddress(connection):  # type: ignore[misc]
        server_address: str
        port: int

        async def connect(self) -> None:
            known = addresses.of(self.dc_id, (self.server_address, self.port))
            for address in known:
                self.server_address, self.port = address
                self.ipv6 = ":" in self.server_address
                try:
                    async with asyncio.timeout(_ADDRESS_S if len(known) > 1 else None):
                        await super().connect()
                except OSError:  # also one that takes too long
                    if address == known[-1]:
                        raise
                else:
                    addresses.answered(self.dc_id, address)
                    return

    return AnyAddress
