"""Where a SIP server is (RFC 3263): NAPTR and SRV for a domain, A and AAAA for a host, nothing for an address."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from teletrunk_worker.sip.transport.flow import Address, SocketAddress, peer_of, plain

if TYPE_CHECKING:
    from teletrunk_worker.sip.transport.dns_records import DnsRecords

PORTS: Final = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_SERVICES: Final = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}
_SRV: Final = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp"}
LOOK_UP_S: Final = 4.0
_MOST_ADDRESSES = 16
_MOST_SERVICES = 8


class NotFound(OSError):
    """The name leads nowhere; the text says why."""


@dataclass(frozen=True)
class Place:
    """One address of a server; `name` is what its certificate must bear."""

    transport: str
    address: Address
    name: str


class Resolver(Protocol):
    """Finds the places of a server, the best first. Raises `NotFound`."""

    async def places(self, host: str, port: int | None, transport: str) -> list[Place]: ...


class DnsResolver:
    """Asks the name servers that are given, or the machine's own."""

    def __init__(self, servers: Sequence[Address] = ()) -> None:
        self._servers = servers
        self._dns: DnsRecords | None = None

    async def places(self, host: str, port: int | None, transport: str) -> list[Place]:
        """`transport` is UDP, TCP or TLS; empty: as the domain says, UDP when it does not."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return (await self._named(host, port, transport))[:_MOST_ADDRESSES]
        chosen = transport or "UDP"
        return [Place(chosen, (plain(host), port or PORTS[chosen]), host)]

    async def _named(self, host: str, port: int | None, transport: str) -> list[Place]:
        if port is not None:  # RFC 3263 4.1: no SRV then
            chosen = transport or "UDP"
            return [Place(chosen, (address, port), host) for address in await self._addresses(host)]
        found = []
        for chosen in [transport] if transport else await self._transports(host):
            for target, at in await self._services(host, chosen):
                found += [Place(chosen, (address, at), host) for address in await self._addresses_or_none(target)]
        if found:
            return found
        chosen = transport or "UDP"
        return [Place(chosen, (address, PORTS[chosen]), host) for address in await self._addresses(host)]

    async def _transports(self, host: str) -> list[str]:
        """Those that NAPTR names, in its order; all that SRV might name when there is none."""
        records = sorted(await self._records(host, "NAPTR"), key=lambda record: (record.order, record.preference))
        named = [_SERVICES.get(record.service.decode("ascii", "replace").upper(), "") for record in records]
        return list(dict.fromkeys(filter(None, named))) or ["UDP", "TCP"]

    async def _services(self, host: str, transport: str) -> list[tuple[str, int]]:
        """RFC 2782: by priority; among equal ones by chance, as heavy as their weight."""
        records = await self._records(f"{_SRV[transport]}.{host}", "SRV")
        chance = {id(record): random.random() ** (1 / (record.weight + 0.01)) for record in records}
        records = sorted(records, key=lambda record: (record.priority, -chance[id(record)]))
        return [(str(record.target).rstrip("."), int(record.port)) for record in records[:_MOST_SERVICES]]

    async def _records(self, name: str, kind: str) -> list[Any]:
        if self._dns is None:
            from teletrunk_worker.sip.transport.dns_records import DnsRecords

            self._dns = DnsRecords(self._servers)
        return await self._dns.of(name, kind)

    async def _addresses_or_none(self, host: str) -> list[str]:
        try:
            return await self._addresses(host)
        except NotFound:
            return []

    async def _addresses(self, host: str) -> list[str]:
        if not self._servers:  # as every program here finds it: also what /etc/hosts says
            return await _by_the_machine(host)
        found = [plain(str(record)) for kind in ("A", "AAAA") for record in await self._records(host, kind)]
        if not found:
            raise NotFound(f"{host} has no address")
        return found


async def _by_the_machine(host: str) -> list[str]:
    try:
        async with asyncio.timeout(LOOK_UP_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        raise NotFound(f"{host} has no address") from None
    return list(dict.fromkeys(peer_of(cast(SocketAddress, address))[0] for *_, address in found))
