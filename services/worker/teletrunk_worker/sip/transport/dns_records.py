"""Records of the Domain Name System. To be imported with the first question: many Workers know addresses only, and
the library takes 1.5 MB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from teletrunk_worker.sip.transport.flow import Address
from teletrunk_worker.sip.transport.locate import LOOK_UP_S


class DnsRecords:
    """Asks the name servers that are given, or the machine's own."""

    def __init__(self, servers: Sequence[Address]) -> None:
        self._servers = servers
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def of(self, name: str, kind: str) -> list[Any]:
        """None also when nobody answers: addresses are asked for all the same."""
        try:
            answer = await self._made().resolve(name, kind, lifetime=LOOK_UP_S, search=False)
        except (dns.exception.DNSException, OSError):
            return []
        return list(answer)

    def _made(self) -> dns.asyncresolver.Resolver:
        """Raises DNSException on a machine that has no name servers, which may get some."""
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in self._servers]
        return self._resolver
