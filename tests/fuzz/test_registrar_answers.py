"""Whatever a PBX answers to our REGISTER and OPTIONS, it is asked again, and believed once it says what is right.

A short form of `make fuzz`, which goes on for long. TELETRUNK_FUZZ_SEED chooses what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY
from structlog.processors import format_exc_info
from structlog.testing import capture_logs
from teletrunk.v1 import manager_pb2, trunk_pb2
from teletrunk_worker.sip.transport.tls import Certificates, TlsFiles

from tests.component.worker.port_world import PortWorld, port_world
from tests.component.worker.test_pbxs import follow
from tests.fuzz import answers, templates
from tests.fuzz.mutations import Mutator
from tests.fuzz.peer import Heard

SECONDS = float(os.environ.get("TELETRUNK_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("TELETRUNK_FUZZ_SEED", "1"))
TRUNKS = 60  # each asks anew in each round
ROUND_S = 0.7
PATIENCE_S = 30.0
RIGHT = "200 OK"
STATUSES = (RIGHT, RIGHT, "401 Unauthorized", "407 x", "423 Interval Too Brief", "302 Moved", "403 Forbidden", "503 x")
ROWS = {
    "401": {"WWW-Authenticate": 'Digest realm="pbx", nonce="abc", qop="auth", algorithm=MD5'},
    "407": {"Proxy-Authenticate": 'Digest realm="pbx", nonce="abc", algorithm=SHA-256'},
    "423": {"Min-Expires": "1200"},
}

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(SECONDS + 120)]


class Registrar(asyncio.DatagramProtocol):
    """A PBX that says what is wrong, until it is honest."""

    def __init__(self) -> None:
        self.mutator = Mutator(SEED)
        self.honest = False
        self.said = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not data.strip():
            return
        rng, asked = self.mutator.rng, Heard(data)
        for _ in range(1 if self.honest else rng.choice([1, 1, 1, 2, 3])):
            status = RIGHT if self.honest else rng.choice(STATUSES)
            whole = self.answer(asked, status)
            said = whole if self.honest or rng.random() < 0.1 else answers.broken(self.mutator, whole).data
            self.said += 1
            self.transport.sendto(said, addr)  # type: ignore[attr-defined]

    def answer(self, asked: Heard, status: str) -> bytes:
        host = f"<sip:x@127.0.0.1:{self.port}>"
        contact = host if status[0] == "3" else f"{asked.header('Contact') or host};expires=300"
        copied = {name: asked.header(name) for name in ("Via", "From", "To", "Call-ID", "CSeq")}
        return templates.response(status, {**copied, "Contact": contact, **ROWS.get(status[:3], {})})


@contextlib.asynccontextmanager
async def registrar(host: str) -> AsyncIterator[Registrar]:
    _, found = await asyncio.get_running_loop().create_datagram_endpoint(Registrar, local_addr=(host, 0))
    try:
        yield found
    finally:
        found.transport.close()


def trunks(pbx: Registrar, host: str) -> list[manager_pb2.TrunkSettings]:
    made = []
    for number in range(TRUNKS):
        at = trunk_pb2.PbxAddress(address=f"{templates.written(host)}:{pbx.port}", username=f"u{number}")
        kind = trunk_pb2.TRUNK_KIND_PEER if number % 3 == 0 else trunk_pb2.TRUNK_KIND_OUTBOUND
        options = trunk_pb2.TrunkOptions(kind=kind, pbx=at)
        made.append(
            manager_pb2.TrunkSettings(
                trunk_id=f"t{number}", login=f"l{number}", options=options, registers=number % 3 != 0, pbx_password="x"
            )
        )
    return made


def mistakes() -> float:
    return REGISTRY.get_sample_value("teletrunk_sip_errors_total") or 0.0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_whatever_a_registrar_answers_it_is_asked_again(host: str) -> None:
    before = mistakes()
    with capture_logs(processors=[format_exc_info]) as logs:
        certificates = Certificates(TlsFiles())  # it may lead us to TLS
        known_by = ("127.0.0.1", "::1")
        async with port_world("::", known_by, certificates=certificates) as world, registrar(host) as pbx:
            until = time.monotonic() + SECONDS / 2
            while time.monotonic() < until:
                follow(world, *trunks(pbx, host))
                await asyncio.sleep(ROUND_S)
                assert not [task for _, task in world.port.pbxs._all.values() if task.done()]
                assert len(world.port.pbxs.states()) == TRUNKS
                follow(world)
            pbx.honest = True
            follow(world, *trunks(pbx, host))
            await _all_up(world)
            print(f"\nseed {SEED}: {pbx.said} answers over {host}")
    wrong = [line for line in logs if line["log_level"] == "error" or line.get("exception")]
    assert not wrong and mistakes() == before


async def _all_up(world: PortWorld) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not all(state.up for state in world.port.pbxs.states()):
            await asyncio.sleep(0.05)
