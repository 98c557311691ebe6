"""What the control plane does in a second: RouteCall at one Manager on PostgreSQL and Redis, and REGISTER through the
edge by sipp, beside sipp's own ceiling against a plain UDP echo of the same answers; and what a heartbeat costs
it, a change, and two Managers in Redis.

The Manager is held to one core (taskset); the askers share what is left. One table on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from teletrunk.changes import Beats  # noqa: E402
from teletrunk.v1 import admin_pb2 as admin  # noqa: E402
from teletrunk.v1 import manager_pb2 as pb  # noqa: E402
from teletrunk.v1.trunk_pb2 import TrunkState  # noqa: E402
from teletrunk_manager.db.database import Database  # noqa: E402
from teletrunk_manager.db.tables import Account, Trunk  # noqa: E402
from teletrunk_manager.passwords import PasswordSeal  # noqa: E402
from teletrunk_manager.stored import StoredReader  # noqa: E402
from teletrunk_sandbox.world import World  # noqa: E402

from tests import sip_wire  # noqa: E402
from tests.conformance.gateway import Gateway  # noqa: E402
from tests.e2e.test_scanners import REGISTER, run  # noqa: E402
from tests.integration.manager_process import Wire, answered  # noqa: E402
from tests.integration.manager_world import World as ManagerWorld  # noqa: E402
from tests.integration.test_two_managers import Pair  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402

# Only a 200 counts here: a 503 that says when to come again is an answer, but no registration.
ONLY_200 = REGISTER.replace(
    '<recv response="200" optional="true" next="1"/>\n  <recv response="503" />\n  <label id="1"/>',
    '<recv response="200" />',
)
# A call that the Manager refuses once it knows who asks: the edge's and the Manager's share of a set-up.
_ASK = """  <send retrans="500"><![CDATA[
INVITE sip:-@[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{{login}}@[remote_ip]>;tag=[call_number]
To: <sip:-@[remote_ip]>
Call-ID: [call_id]
CSeq: {cseq} INVITE
Contact: <sip:{{login}}@[local_ip]:[local_port]>
Max-Forwards: 70
{credentials}Content-Length: 0

]]></send>
  <recv response="100" optional="true" />
  <recv response="{answer}"{auth} />
  <send><![CDATA[
ACK sip:-@[remote_ip] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: {cseq} ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
"""
INVITE = (
    '<?xml version="1.0"?>\n<scenario name="invite">\n'
    + _ASK.format(cseq=1, credentials="", answer=401, auth=' auth="true"')
    + _ASK.format(
        cseq=2, credentials="[authentication username={{login}} password={{password}}]\n", answer=404, auth=""
    )
    .replace("{{password}}", "{password}")
    .replace("{{login}}", "{login}")
    + "</scenario>\n"
)
SECONDS = float(os.environ.get("TELETRUNK_BENCH_SECONDS", "10"))
BEATS = 100
SHOWN = 10
READ = 10
RATES = (50, 100, 200, 300)
ASKED = {"REGISTER": ONLY_200, "INVITE": INVITE}


async def route(postgres: Postgres, redis: Redis, askers: int) -> str:
    with tempfile.TemporaryDirectory() as directory:
        settings = {"TELETRUNK_DATABASE_URL": await postgres.database(), "TELETRUNK_REDIS_URL": redis.url}
        world = ManagerWorld(Path(directory) / "data", **settings)
        await world.start()
        process = psutil.Process(world.process.process.pid)
        process.cpu_affinity([0])
        psutil.Process().cpu_affinity([1 % (os.cpu_count() or 1)])
        await world.add_account()
        password = (await world.add_trunk("office")).password
        wires = [Wire(world.process.address) for _ in range(4)]
        times: list[float] = []
        stop = time.monotonic() + SECONDS
        request = pb.RouteCallRequest(
            call_id="c", digest=answered("office", password, "INVITE"), called="+491700000001", registered=True
        )

        async def ask(wire: Wire) -> None:
            while time.monotonic() < stop:
                began = time.monotonic()
                await wire.manager.RouteCall(request)
                times.append(time.monotonic() - began)

        async def keep_storage() -> None:
            while time.monotonic() < stop:
                await world.report(pb.SESSION_STATE_ACTIVE)
                await asyncio.sleep(2)

        before = sum(process.cpu_times()[:2])
        await asyncio.gather(keep_storage(), *(ask(wires[n % 4]) for n in range(askers)))
        busy = sum(process.cpu_times()[:2]) - before
        for wire in wires:
            await wire.channel.close()
        await world.wire.admin.ListTrunks(admin.ListTrunksRequest())
        await world.stop()
    times.sort()
    p99 = times[int(len(times) * 0.99)] * 1000
    rate = len(times) / SECONDS
    median = statistics.median(times) * 1000
    return f"| RouteCall, {askers} askers | {rate:.0f} a second | {median:.1f} / {p99:.1f} ms | {busy / SECONDS:.0%} |"


async def beats(trunks: int) -> str:
    """Heartbeats of a Worker with so many trunks whose PBXs do not register, of which one has changed each time."""
    with tempfile.TemporaryDirectory() as directory:
        world = ManagerWorld(Path(directory) / "data")
        await world.start()
        process, said = psutil.Process(world.process.process.pid), Beats()
        states = [TrunkState(trunk_id=f"{number:012x}", up=True, why="registered") for number in range(trunks)]
        await world.worker.beat(said.next(pb.Heartbeat(), {"trunk_states": states}))
        said.answered(pb.Pulse(takes_changes=True))
        before, sizes = sum(process.cpu_times()[:2]), []
        for number in range(BEATS):
            states[0] = TrunkState(trunk_id=states[0].trunk_id, up=True, why="registered", since=number)
            heartbeat = said.next(pb.Heartbeat(), {"trunk_states": states})
            sizes.append(heartbeat.ByteSize())
            await world.worker.beat(heartbeat)
        each = (sum(process.cpu_times()[:2]) - before) / BEATS
        await world.stop()
    return f"| heartbeat of {trunks} trunks | {max(sizes)} bytes | | {each * 1000:.1f} ms |"


async def shown(postgres: Postgres, redis: Redis, trunks: int) -> str:
    """What goes through Redis between two Managers when one trunk of so many has changed with each heartbeat."""
    with tempfile.TemporaryDirectory() as directory:
        pair, said = Pair(Path(directory), await postgres.database(), redis), Beats()
        await pair.start()
        states = [TrunkState(trunk_id=f"{number:012x}", up=True, why="registered") for number in range(trunks)]
        await pair.worker.beat(said.next(pb.Heartbeat(), {"trunk_states": states}))
        said.answered(pb.Pulse(takes_changes=True))
        await asyncio.sleep(5)  # the other one has read it
        before, began = redis.bytes_so_far(), time.monotonic()
        for number in range(SHOWN):
            states[0] = TrunkState(trunk_id=states[0].trunk_id, up=True, why="registered", since=number)
            await pair.worker.beat(said.next(pb.Heartbeat(), {"trunk_states": states}))
        rate = (redis.bytes_so_far() - before) / (time.monotonic() - began)
        await pair.stop()
    redis.empty()
    return f"| Redis, {SHOWN} heartbeats of {trunks} trunks | {rate:.0f} bytes a second | | |"


async def changed(postgres: Postgres, trunks: int) -> str:
    """What it costs to read what services are told of, when one trunk of so many has changed."""
    database = Database(await postgres.database())
    await database.open()
    async with database.transaction() as session:
        account = {"account_id": "a", "user_id": 1, "session_id": "s/a", "storage_id": "s"}
        await session.execute(sa.insert(Account), [account])
        ids = [f"{number:012x}" for number in range(trunks)]
        rows = [{"trunk_id": id_, "login": id_, "account_id": "a", "sealed_password": b""} for id_ in ids]
        await session.execute(sa.insert(Trunk), rows)
    reader = StoredReader(database, PasswordSeal(bytes(32)))
    await reader.read()
    used = []
    for _ in range(READ):
        async with database.transaction() as session:
            (await session.get_one(Trunk, ids[0])).version += 1
        before = time.process_time()
        await reader.read()
        used.append((time.process_time() - before) * 1000)
    await database.close()
    return f"| a change, read, of {trunks} trunks | | | {statistics.median(used):.1f} ms |"


async def sipp(
    directory: Path, port: int, login: str, password: str, rate: int, text: str = ONLY_200
) -> tuple[int, int, float]:
    """Successful and failed exchanges, and the seconds that they took."""
    # Of an INVITE the digest must be for the user that is called; sipp leaves it out by itself.
    called = "-@" if text is INVITE else ""
    scenario = directory / "scenario.xml"
    scenario.write_text(text.format(login=login, password=password))
    count = int(rate * SECONDS)
    began = time.monotonic()
    out = await run(
        "sipp", f"127.0.0.1:{port}", "-sf", str(scenario), "-r", str(rate), "-m", str(count), "-i", "127.0.0.1",
        "-timeout", "60", "-nostdin", "-auth_uri", f"{called}127.0.0.1:{port}", cwd=directory,
    )  # fmt: skip
    found = dict(re.findall(r"(Successful|Failed) call +\| +\d+ +\| +(\d+)", out))
    return int(found.get("Successful", 0)), int(found.get("Failed", 0)), time.monotonic() - began


class Echo(asyncio.DatagramProtocol):
    """Answers 401 and 200 with no thought: what sipp itself can do here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        head = data.decode().split("\r\n")
        kept = [line for line in head if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
        status = "200 OK" if b"Authorization" in data else "401 Unauthorized"
        challenge = ['WWW-Authenticate: Digest realm="x", nonce="n", algorithm=MD5, qop="auth"']
        lines = [f"SIP/2.0 {status}", *kept, *(challenge if status[0] == "4" else []), "Content-Length: 0", "", ""]
        self.transport.sendto("\r\n".join(lines).encode(), addr)  # type: ignore[attr-defined]


async def edge() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        for rate in RATES:
            good, bad, took = await sipp(directory, port, "u", "p", rate)
            print(f"| sipp alone, {rate} a second | {good / took:.0f} a second | {bad} failed | |")
        transport.close()
        world = World(directory / "world", TELETRUNK_DIGEST_ALGORITHMS="MD5")
        async with world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
            gateway = Gateway(world, wire)
            await gateway.furnish()
            child = world.stack.children["worker"].process
            assert child is not None
            worker = psutil.Process(child.pid)
            for name, scenario, rate in [(n, s, r) for n, s in ASKED.items() for r in RATES]:
                before = sum(worker.cpu_times()[:2])
                good, bad, took = await sipp(
                    directory, world.sip_port, gateway.trunk.login, gateway.password, rate, scenario
                )
                busy = (sum(worker.cpu_times()[:2]) - before) / took
                print(f"| edge, {name} with digest, {rate} a second | {good / took:.0f} a second "
                      f"| {bad} failed | {busy:.0%} of a core (Worker) |")  # fmt: skip


async def main() -> None:
    print("| what | rate | median / p99, failed | CPU |\n|---|---|---|---|")
    for trunks in (1, 10_000):
        print(await beats(trunks))
    postgres, redis = Postgres(), Redis()
    try:
        for trunks in (1, 10_000):
            print(await shown(postgres, redis, trunks))
            print(await changed(postgres, trunks))
        for askers in (1, 8, 32):
            print(await route(postgres, redis, askers))
    finally:
        redis.stop()
        postgres.close()
    psutil.Process().cpu_affinity(list(range(os.cpu_count() or 1)))
    with contextlib.suppress(KeyboardInterrupt):
        await edge()


if __name__ == "__main__":
    asyncio.run(main())
