"""What malformed messages leave behind: the resident memory of the Worker's control process, before and after.

The three services run as they do with `teletrunk up`. Broken messages (tests/fuzz) come over UDP and TCP, IPv4 and
IPv6, from addresses that are never made to wait, so that every one of them is read. A table on standard output; the
exit code is 1 when more than MOST has been added to a port that had just started, or a message was not read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from teletrunk_sandbox.world import World  # noqa: E402

from tests.fuzz import templates  # noqa: E402
from tests.fuzz.mutations import Mutator  # noqa: E402
from tests.servers import free_port  # noqa: E402

MOST = 0.05
_WARM = 5_000
_BATCH = 20
_LARGEST = 8_000  # a batch fits into the socket's buffer
_TCP_EVERY = 25
_SETTLED_S = 40.0  # transactions and their answers are kept for half a minute
_PATIENCE_S = 30.0
_SHOWN = 10  # samples


class Sender(asyncio.DatagramProtocol):
    """One socket. A batch is followed by an OPTIONS, and the next one by its answer."""

    def __init__(self, server: tuple[str, int], seed: int) -> None:
        self.server = server
        self._rng, self._mutator = random.Random(seed), Mutator(seed)
        self._answered = asyncio.Event()
        self._probe = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: object) -> None:
        if b"Call-ID: probe%d\r\n" % self._probe in data:
            self._answered.set()

    def message(self, transport: str) -> bytes:
        whole = templates.stranger(self._rng, self.address, self.server, transport)
        return self._mutator.message(whole, _LARGEST).data

    async def send(self, count: int) -> None:
        for _ in range(count):
            self.transport.sendto(self.message("UDP"), self.server)  # type: ignore[attr-defined]
        self._probe += 1
        self._answered.clear()
        host = f"{templates.written(self.address[0])}:{self.address[1]}"
        headers = {
            "Via": f"SIP/2.0/UDP {host};rport;branch=z9hG4bK{self._probe}", "From": "<sip:a@b>;tag=1",
            "To": "<sip:a@b>", "Call-ID": f"probe{self._probe}", "CSeq": "1 OPTIONS",
        }  # fmt: skip
        probe = templates.request("OPTIONS", "sip:a@b", headers)
        async with asyncio.timeout(_PATIENCE_S):
            self.transport.sendto(probe, self.server)  # type: ignore[attr-defined]
            await self._answered.wait()

    async def send_by_tcp(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(*self.server, local_addr=(self.address[0], 0))
            writer.write(self.message("TCP"))
            writer.write_eof()
            async with asyncio.timeout(2):
                await reader.read()
            writer.transport.abort()


@contextlib.asynccontextmanager
async def senders(port: int) -> AsyncIterator[list[Sender]]:
    loop, places = asyncio.get_running_loop(), [*(f"127.77.{n}.1" for n in range(8)), "::1", "::1"]
    made = []
    try:
        for seed, host in enumerate(places):
            server = ("::1" if ":" in host else "127.0.0.1", port)
            _, sender = await loop.create_datagram_endpoint(
                lambda server=server, seed=seed: Sender(server, seed),  # type: ignore[misc]
                local_addr=(host, 0),
            )
            made.append(sender)
        yield made
    finally:
        for sender in made:
            sender.transport.close()


def fates(metrics: str) -> dict[str, int]:
    """Of messages that got no answer: how many could not be read, and how many nobody looked at."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r'^teletrunk_stranger_messages_total\{fate="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {fate: int(float(count)) for fate, count in found}


async def measure(directory: Path, count: int) -> bool:
    metrics = f"127.0.0.1:{free_port()}"
    world = World(
        directory, sip_host="[::]", TELETRUNK_NEVER_BANNED="127.77.0.0/16,::1/128",
        TELETRUNK_WORKER_METRICS_ADDRESS=metrics,
    )  # fmt: skip
    async with world, senders(world.sip_port) as all_of_them:
        child = world.stack.children["worker"].process
        assert child is not None
        worker = psutil.Process(child.pid)

        def rss() -> float:
            return worker.memory_info().rss / 1e6

        async def send(number: int) -> None:
            for batch in range(-(-number // _BATCH)):
                sender = all_of_them[batch % len(all_of_them)]
                await sender.send(_BATCH)
                if batch % _TCP_EVERY == 0:
                    await sender.send_by_tcp()

        print("| messages | RSS, MB |\n|---|---|")
        fresh = rss()
        print(f"| 0 | {fresh:.1f} |", flush=True)
        began = time.monotonic()
        await send(_WARM)
        warm = rss()
        print(f"| {_WARM:,} | {warm:.1f} |", flush=True)
        for part in range(1, _SHOWN + 1):
            await send(count // _SHOWN)
            print(f"| {_WARM + part * count // _SHOWN:,} | {rss():.1f} |", flush=True)
        seconds = time.monotonic() - began
        await asyncio.sleep(_SETTLED_S)
        after, unanswered = rss(), await asyncio.to_thread(fates, metrics)
    print(f"| {_SETTLED_S:.0f} s later | {after:.1f} |")
    print(
        f"\n{_WARM + count:,} messages in {seconds:.0f} s, unanswered: {unanswered}. Left: {after / warm - 1:+.1%} of "
        f"what was there after the first {_WARM:,}, {after / fresh - 1:+.1%} of a port that has just started."
    )
    return not unanswered.get("unread") and after / fresh - 1 <= MOST


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=100_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="teletrunk-malformed-") as own:
        sys.exit(0 if asyncio.run(measure(Path(own), given.messages)) else 1)
