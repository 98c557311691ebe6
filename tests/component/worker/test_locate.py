"""RFC 3263 against a name server of our own, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import dns.message
import dns.rrset
import pytest
from teletrunk_worker.sip.transport.locate import DnsResolver, NotFound, Place

ZONE = {
    ("pbx.test.", "NAPTR"): [
        '20 1 "s" "SIP+D2U" "" _sip._udp.pbx.test.',
        '10 1 "s" "SIPS+D2T" "" _sips._tcp.pbx.test.',
    ],
    ("_sips._tcp.pbx.test.", "SRV"): ["20 0 5071 b.pbx.test.", "10 0 5061 a.pbx.test."],
    ("_sip._udp.pbx.test.", "SRV"): ["0 0 5070 a.pbx.test."],
    ("a.pbx.test.", "A"): ["192.0.2.1"],
    ("b.pbx.test.", "A"): ["192.0.2.2"],
    ("plain.test.", "A"): ["192.0.2.3"],
    ("plain.test.", "AAAA"): ["2001:db8::3"],
    ("_sip._tcp.tcp.test.", "SRV"): ["0 0 5080 a.pbx.test."],
}


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        answer = dns.message.make_response(query)
        kind = dns.rdatatype.to_text(question.rdtype)
        if texts := ZONE.get((question.name.to_text(), kind)):
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
        self.transport.sendto(answer.to_wire(), addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def resolver() -> AsyncIterator[DnsResolver]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield DnsResolver([transport.get_extra_info("sockname")[:2]])
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("host", "port", "transport", "expected"),
    [
        ("192.0.2.9", None, "", [("UDP", "192.0.2.9", 5060)]),
        ("192.0.2.9", None, "TLS", [("TLS", "192.0.2.9", 5061)]),
        ("2001:db8::9", 5066, "TCP", [("TCP", "2001:db8::9", 5066)]),
        ("plain.test", 5099, "", [("UDP", "192.0.2.3", 5099), ("UDP", "2001:db8::3", 5099)]),
        ("plain.test", None, "", [("UDP", "192.0.2.3", 5060), ("UDP", "2001:db8::3", 5060)]),
        ("pbx.test", None, "UDP", [("UDP", "192.0.2.1", 5070)]),
        # NAPTR's order first, then SRV's priority; the certificate is of the domain that was asked for.
        ("pbx.test", None, "", [("TLS", "192.0.2.1", 5061), ("TLS", "192.0.2.2", 5071), ("UDP", "192.0.2.1", 5070)]),
        ("tcp.test", None, "", [("TCP", "192.0.2.1", 5080)]),
    ],
)
async def test_where_a_server_is(
    host: str, port: int | None, transport: str, expected: list[tuple[str, str, int]]
) -> None:
    async with resolver() as found:
        places = await found.places(host, port, transport)
    assert places == [Place(over, (address, at), host) for over, address, at in expected]


async def test_a_name_without_an_address_is_said() -> None:
    async with resolver() as found:
        with pytest.raises(NotFound, match=r"gone\.test has no address"):
            await found.places("gone.test", None, "")
