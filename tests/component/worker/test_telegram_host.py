"""Two Telegram hosts call each other over their wires, as the Worker and a Telegram user's app would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import sys
from typing import Any

from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

LANES = 16
CALLS = 300
# The allocator overwrites what is freed: a host that uses it still dies at once. Without what `NativeEngine.stop` does
# first, one died within ten calls.
OVERWRITTEN = {"GLIBC_TUNABLES": "glibc.malloc.perturb=165"}
GONE = 8
PATIENCE_S = 60.0


class HostProcess:
    """A host that is not the pool's: who holds the other end of its wire sees all that it says."""

    def __init__(self) -> None:
        self.wire, self._theirs = Wire.pair()
        self.listeners: dict[str, asyncio.Queue[Message]] = {}
        self.ready = asyncio.Event()

    async def start(self) -> None:
        descriptor = self._theirs.fileno()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "teletrunk_worker.legs.telegram_host",
            str(descriptor),
            pass_fds=[descriptor],
            env={**os.environ, **OVERWRITTEN},
        )
        self._theirs.close()
        asyncio.get_running_loop().add_reader(self.wire.socket.fileno(), self._on_readable)
        await asyncio.wait_for(self.ready.wait(), PATIENCE_S)

    def _on_readable(self) -> None:
        try:
            while received := self.wire.receive():
                message, _ = received
                if message["event"] == "ready":
                    self.ready.set()
                elif queue := self.listeners.get(message.get("call", "")):
                    queue.put_nowait(message)
        except PeerGone:
            asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
            for queue in self.listeners.values():
                queue.put_nowait({"event": "died"})

    async def stop(self) -> int:
        asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
        self.wire.close()
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


def open_call(hosts: list[HostProcess], name: str) -> list[asyncio.Queue[Message]]:
    """Both ends. Returns what each is told."""
    heard = [asyncio.Queue[Message](), asyncio.Queue[Message]()]
    key = base64.b64encode(os.urandom(256)).decode()
    for host, queue, outgoing in zip(hosts, heard, (True, False), strict=True):
        host.listeners[name] = queue
        rings = RingPair.create()
        opening: dict[str, Any] = {"key": key, "outgoing": outgoing, "versions": ["13.0.0", "9.0.0"], "p2p": True}
        host.wire.send(
            {"command": "open", "call": name, "rate": 8000, "servers": [], "parameters": "", **opening},
            rings.descriptor,
        )
        rings.close()
    return heard


async def one_call(hosts: list[HostProcess], name: str, dice: random.Random) -> None:
    """Both ends of a call. It is ended right behind a signalling message, or as soon as it is connected."""
    last = dice.choice((1, 2, 3, 4, 5, 6, 7, 99, 99, 99))
    heard = open_call(hosts, name)

    async def one_end(own: int) -> None:
        passed_on = 0
        while (event := await heard[own].get())["event"] != "closed":
            assert event["event"] != "died", f"a host died in call {name}"
            if event["event"] == "signalling":
                hosts[1 - own].wire.send({"command": "signalling", "call": name, "data": event["data"]})
                passed_on += 1
            if (event["event"] in ("connected", "failed") and own == 1) or (own == 0 and passed_on == last):
                for host in hosts:
                    host.wire.send({"command": "close", "call": name})

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(one_end(0), one_end(1))
    for host in hosts:
        del host.listeners[name]


async def test_a_host_outlives_peers_that_are_gone_without_a_word() -> None:
    """The engine gives such a call up by itself, after some twenty seconds, and frees it."""
    hosts = [HostProcess(), HostProcess()]
    await asyncio.gather(*(host.start() for host in hosts))
    connected = 0

    async def one_end(name: str, heard: list[asyncio.Queue[Message]], own: int) -> list[str]:
        nonlocal connected
        seen: list[str] = []
        while not seen or seen[-1] not in ("closed", "died"):
            event = await heard[own].get()
            seen.append(event["event"])
            if event["event"] == "signalling":
                with contextlib.suppress(PeerGone):
                    hosts[1 - own].wire.send({"command": "signalling", "call": name, "data": event["data"]})
            if event["event"] == "failed":
                hosts[own].wire.send({"command": "close", "call": name})
            elif event["event"] == "connected":
                connected += 1
                if connected == 2 * GONE:
                    hosts[1].process.kill()
        return seen

    calls = {f"call-{number}": open_call(hosts, f"call-{number}") for number in range(GONE)}
    async with asyncio.timeout(PATIENCE_S):
        ends = await asyncio.gather(*(one_end(name, heard, own) for name, heard in calls.items() for own in (0, 1)))
    told = [[event for event in seen if event != "signalling"] for seen in ends[::2]]  # which may come behind all else
    assert [seen[-2:] for seen in told] == [["failed", "closed"]] * GONE
    assert await hosts[0].stop() == 0


async def test_calls_that_end_while_they_connect_kill_no_host() -> None:
    hosts = [HostProcess(), HostProcess()]
    await asyncio.gather(*(host.start() for host in hosts))
    numbers = iter(range(CALLS))
    dice = random.Random(1)

    async def lane() -> None:
        for number in numbers:
            await one_call(hosts, f"call-{number}", dice)

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())
    assert [await host.stop() for host in hosts] == [0, 0]
