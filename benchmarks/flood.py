"""What the public SIP port bears while a registered PBX goes on: datagrams a second of each kind, until the PBX waits.

The three services run as they do with `teletrunk up`. Strangers' datagrams come from a process of its own
(flood_sender.py); meanwhile the PBX sends a REGISTER and an INVITE ten times a second, each challenged and sent again
with credentials. A rate is borne when 99 of 100 of these exchanges end within half a second. Tables on standard output.

CPU is the Worker's control process: percent of a core, and what one datagram cost it beyond what the PBX costs.
`log` is what the Worker writes; `answered` is bytes sent to strangers for a byte received; `lost` by the kernel, whose
buffer was full. RSS is of the control process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from flood_sender import Order  # noqa: E402
from teletrunk_sandbox.world import World  # noqa: E402

from tests import sip_wire  # noqa: E402
from tests.conformance.gateway import Gateway  # noqa: E402

# What is sent, and whether from 64 ports of one address or from an address a datagram.
KINDS = (
    ("OPTIONS", False),
    ("OPTIONS", True),
    ("INVITE", False),
    ("INVITE", True),
    ("garbage", True),
    ("resting", True),
)
RATES = (500, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_000, 10_000, 14_000, 20_000, 28_000, 40_000)
PROMPT_S = 0.5
_PATIENCE_S = 4.0
_EVERY_S = 0.1
_BACK_S = 60.0
_UNKNOWN = "-"  # whom the Manager refuses once it knows who asks: the edge's and the Manager's share of a set-up
_WHAT_IS_RIGHT = {"REGISTER": 200, "INVITE": 404}


@dataclass
class Pbx:
    """A registered PBX, whose exchanges are timed from when they were due."""

    gateway: Gateway
    took: dict[str, list[float]] = field(default_factory=lambda: {"REGISTER": [], "INVITE": []})

    async def ask(self, method: str) -> float:
        """Seconds until the right answer; infinite when there was none."""
        began = time.monotonic()
        ask = self.gateway.register() if method == "REGISTER" else self.gateway.invite(_UNKNOWN)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                right = (await ask).exchange.final.code == _WHAT_IS_RIGHT[method]
        except TimeoutError:
            right = False
        seconds = time.monotonic() - began if right else float("inf")
        self.took[method].append(seconds)
        return seconds

    async def keep_asking(self, seconds: float) -> None:
        self.took = {"REGISTER": [], "INVITE": []}
        began = time.monotonic()
        async with asyncio.TaskGroup() as exchanges:
            for number in range(int(seconds / _EVERY_S)):
                await asyncio.sleep(began + number * _EVERY_S - time.monotonic())
                for method in self.took:
                    exchanges.create_task(self.ask(method))

    def p99(self, method: str) -> float:
        took = sorted(self.took[method])
        return took[int(len(took) * 0.99)]

    @property
    def served(self) -> bool:
        return all(self.p99(method) < PROMPT_S for method in self.took)

    async def back(self) -> None:
        """Until it is answered quickly again. Raises TimeoutError."""
        async with asyncio.timeout(_BACK_S):
            while await self.ask("REGISTER") > PROMPT_S or await self.ask("INVITE") > PROMPT_S:
                await asyncio.sleep(0.5)


class Watched:
    """The Worker from outside: its control process, its log, its socket."""

    def __init__(self, world: World) -> None:
        child = world.stack.children["worker"]
        assert child.process is not None
        self._log = child.log
        self._read: dict[int, int] = {}  # how much of each file, by inode: they rotate
        self._port = world.sip_port
        self.process = psutil.Process(child.process.pid)
        self.log()

    @property
    def cpu_s(self) -> float:
        return sum(self.process.cpu_times()[:2])

    @property
    def rss_mb(self) -> float:
        return self.process.memory_info().rss / 1e6

    def log(self) -> tuple[int, int]:
        """Lines and bytes since it was asked before."""
        lines = size = 0
        for file in self._log.parent.glob(f"{self._log.name}*"):
            with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
                inode = os.fstat(opened.fileno()).st_ino
                opened.seek(self._read.get(inode, 0))
                new = opened.read()
                self._read[inode] = opened.tell()
                lines, size = lines + new.count(b"\n"), size + len(new)
        return lines, size

    def lost(self) -> int:
        """Datagrams that the kernel has thrown away for want of room in the socket's buffer."""
        local = f":{self._port:04X}"
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[-1]) for row in rows if row[1].endswith(local))


@contextlib.asynccontextmanager
async def sender(order: Order) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that has everything made and waits for its start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "benchmarks" / "flood_sender.py"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the sender did not get ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(frozen=True)
class Step:
    """One rate of one kind."""

    order: Order
    sent: dict[str, float]
    served: bool
    p99: dict[str, float]
    cpu_s: float
    rss: tuple[float, float]
    log: tuple[int, int]
    lost: int

    @property
    def rate(self) -> float:
        return self.sent["sent"] / self.sent["seconds"]

    def row(self, idle: float) -> str:
        """`idle` is the CPU a second that the PBX alone costs."""
        seconds, sent = self.sent["seconds"], self.sent["sent"]
        worked = max(1, sent - self.lost)
        cells = [
            f"{self.order.kind}, {'many addresses' if self.order.many_addresses else 'one address'}",
            f"{self.rate:,.0f}" + ("" if self.rate > 0.9 * self.order.rate else f" of {self.order.rate:,}"),
            "yes" if self.served else "no",
            " / ".join("-" if p == float("inf") else f"{p * 1000:.0f}" for p in self.p99.values()),
            f"{self.cpu_s / seconds:.0%}",
            f"{max(0.0, self.cpu_s - idle * seconds) / worked * 1e6:.0f}",
            f"{self.rss[0]:.0f} -> {self.rss[1]:.0f}",
            f"{self.log[0] / seconds:,.0f} / {self.log[1] / seconds / 1000:,.1f} kB",
            f"{self.sent['answer_bytes'] / max(1, self.sent['sent_bytes']):.2f}",
            f"{self.lost / sent:.0%}" if sent else "0%",
            f"{self.sent['cpu_s'] / seconds:.0%}",
        ]
        return "| " + " | ".join(cells) + " |"


_HEAD = (
    "| flood | a second | borne | p99 REGISTER / INVITE, ms | CPU | us each | RSS, MB | log a second | answered | lost "
    "| sender's CPU |\n" + "|---" * 11 + "|"
)


async def step(order: Order, pbx: Pbx, worker: Watched) -> Step:
    async with sender(order) as process:
        assert process.stdin is not None and process.stdout is not None
        await pbx.back()
        cpu, rss, lost = worker.cpu_s, worker.rss_mb, worker.lost()
        worker.log()
        process.stdin.write(b"go\n")
        await pbx.keep_asking(order.seconds)
        used, log = worker.cpu_s - cpu, worker.log()
        sent = json.loads(await process.stdout.readline())
        return Step(order, sent, pbx.served, {method: pbx.p99(method) for method in pbx.took}, used,
                    (rss, worker.rss_mb), log, worker.lost() - lost)  # fmt: skip


async def idle(pbx: Pbx, worker: Watched, seconds: float) -> float:
    """What the PBX alone costs, in seconds of CPU a second."""
    await pbx.back()
    before = worker.cpu_s
    await pbx.keep_asking(seconds)
    cost = (worker.cpu_s - before) / seconds
    register, invite = (f"{pbx.p99(method) * 1000:.0f}" for method in pbx.took)
    print(f"| nothing | 0 | yes | {register} / {invite} | {cost:.0%} | | {worker.rss_mb:.0f} | | | | |", flush=True)
    return cost


async def highest(kind: str, many: bool, pbx: Pbx, worker: Watched, cost: float, options: argparse.Namespace) -> str:
    """Climbs until a rate is not borne, twice in a row."""
    borne: Step | None = None
    for rate in options.rates:
        order = Order(pbx.gateway.world.sip_port, kind, many, rate, options.seconds, pbx.gateway.trunk.login)
        try:
            tried = await step(order, pbx, worker)
        except TimeoutError:
            print(f"| {kind} | | the PBX was not served again in {_BACK_S:.0f} s | | | | | | | | |", flush=True)
            break
        print(tried.row(cost), flush=True)
        if not tried.served:  # once more: on a shared machine a second's pause may be somebody else's
            tried = await step(order, pbx, worker)
            print(tried.row(cost), flush=True)
        if not tried.served:
            break
        borne = tried
        if tried.rate < 0.6 * rate:  # this machine's sender can no more
            break
    return borne.row(cost) if borne else f"| {kind} | less than {options.rates[0]:,} | | | | | | | | | |"


@contextlib.asynccontextmanager
async def a_pbx() -> AsyncIterator[Pbx]:
    """Of three services that run as they do with `teletrunk up`."""
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory) / "world")
        async with world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
            gateway = Gateway(world, wire)
            await gateway.furnish()
            yield Pbx(gateway)


async def main(options: argparse.Namespace) -> None:
    async with a_pbx() as pbx:
        worker = Watched(pbx.gateway.world)
        print(f"process {worker.process.pid}", file=sys.stderr)
        print(_HEAD, flush=True)
        cost = await idle(pbx, worker, options.seconds)
        best = [
            await highest(kind, many, pbx, worker, cost, options)
            for kind, many in KINDS
            if not options.kind or kind in options.kind
        ]
        print(f"\nThe highest that was borne:\n\n{_HEAD}\n" + "\n".join(best))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each rate is kept up")
    parser.add_argument("--kind", action="append", choices=sorted({kind for kind, _ in KINDS}), help="only these")
    parser.add_argument("--rates", type=lambda text: tuple(map(int, text.split(","))), default=RATES)
    asyncio.run(main(parser.parse_args()))
