"""RFC 4475's torture messages, as bytes, over UDP and TCP, IPv4 and IPv6: each draws the class of answer that the RFC
asks for."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest
from teletrunk_worker.sip.proxy import bracketed

from .port_world import PortWorld, port_world

MESSAGES = Path(__file__).with_name("rfc4475")
NONE: frozenset[int] = frozenset()
OK, LET_IN = frozenset({200}), frozenset({401})
BAD, BAD_OR_OK = frozenset({400}), frozenset({400, 200})
# By the RFC's section. Where it lets an element be lenient or refuse, both are taken.
EXPECTED: dict[str, frozenset[int]] = {
    # 3.1.1, valid
    "wsinv": frozenset({481}), "intmeth": frozenset({405, 501}), "esc01": LET_IN, "escnull": LET_IN,
    "esc02": frozenset({405, 501}), "lwsdisp": OK, "longreq": LET_IN, "dblreq": LET_IN, "semiuri": OK,
    "transports": OK, "mpart01": frozenset({405, 415}), "unreason": NONE, "noreason": NONE,
    # 3.1.2, invalid
    "badinv01": BAD, "clerr": BAD, "ncl": BAD, "scalar02": BAD, "scalarlg": NONE, "quotbal": BAD, "ltgtruri": BAD,
    "lwsruri": BAD, "lwsstart": BAD, "trws": BAD_OR_OK, "escruri": frozenset({400, 401}),
    "baddate": frozenset({400, 401}),
    "regbadct": frozenset({400}), "badaspec": BAD_OR_OK, "baddn": BAD_OR_OK, "badvers": frozenset({505}),
    "mismatch01": BAD, "mismatch02": frozenset({400, 501}), "bigcode": NONE,
    # 3.2, transactions
    "badbranch": OK,
    # 3.3, application
    "insuf": BAD, "unkscm": frozenset({416}), "novelsc": frozenset({416}), "unksm2": frozenset({400, 401, 403, 404}),
    "bext01": frozenset({420}), "invut": frozenset({401, 415}), "regaut01": LET_IN, "multi01": BAD, "mcl01": BAD,
    "bcast": NONE, "zeromf": frozenset({200, 483}), "cparam01": LET_IN, "cparam02": LET_IN, "regescrt": LET_IN,
    "sdp01": frozenset({401, 406}),
    # 3.4, backward compatibility
    "inv2543": LET_IN,
}  # fmt: skip


def test_none_is_left_out() -> None:
    assert EXPECTED.keys() == {file.stem for file in MESSAGES.glob("*.dat")}


async def answers_over_udp(world: PortWorld, data: bytes) -> list[bytes]:
    """What comes back, up to the answer to an OPTIONS that follows."""
    loop = asyncio.get_running_loop()
    with await _client(world.address[0], _answers_go_to(data)) as client:
        await loop.sock_sendto(client, data, world.address)
        await loop.sock_sendto(client, _probe(client), world.address)
        found: list[bytes] = []
        async with asyncio.timeout(5):
            while b"Call-ID: probe" not in (answer := await loop.sock_recv(client, 65_536)):
                found.append(answer)
        return found


async def _client(server: str, port: int) -> socket.socket:
    """IPv6 has one loopback address for all of this machine: its port may be in use, for a moment."""
    client = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    client.setblocking(False)
    async with asyncio.timeout(5):
        while True:
            try:
                client.bind(("::1" if ":" in server else "127.0.44.75", port))
                return client
            except OSError:
                await asyncio.sleep(0.05)


async def answers_over_tcp(world: PortWorld, data: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection(*world.address)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(15):
        said = await reader.read()
    writer.close()
    return re.split(rb"(?<=\r\n\r\n)(?=SIP/2\.0)", said) if said else []


def _answers_go_to(data: bytes) -> int:
    """The port that a message without `rport` is answered at: its Via's (RFC 3261 18.2.2)."""
    found = re.search(rb"(?i)\n(?:via|v)\s*:\s*SIP\s*/\s*2\.0\s*/\s*\S+\s+[^;,:\s]+\s*(?::\s*(\d+))?", data)
    return int(found[1]) if found is not None and found[1] else 5060


def _probe(client: socket.socket) -> bytes:
    host, port = client.getsockname()[:2]
    sent_by = f"{bracketed(host)}:{port}"
    return (
        f"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch=z9hG4bKprobe\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:a@b>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\n\r\n"
    ).encode()


def _code(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize("transport", [answers_over_udp, answers_over_tcp], ids=["udp", "tcp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_torture(name: str, address: str, transport) -> None:  # type: ignore[no-untyped-def]
    async with port_world(address) as world:
        found = await transport(world, (MESSAGES / f"{name}.dat").read_bytes())
    codes = [_code(answer) for answer in found]
    if not EXPECTED[name]:
        assert codes == []
    elif name == "dblreq" and transport is answers_over_tcp:
        assert codes == [401, 401], "on a stream the second request is one"
    elif name == "clerr" and transport is answers_over_tcp:
        assert codes == [], "the rest never comes: the connection ends"
    else:
        assert len(codes) == 1 and codes[0] in EXPECTED[name]


async def test_a_request_with_extensions_that_nobody_knows_is_told_which() -> None:
    async with port_world() as world:
        [answer] = await answers_over_udp(world, (MESSAGES / "bext01.dat").read_bytes())
    assert b"\r\nUnsupported: " in answer and b"nothingSupportsThis" in answer
