"""Two Telegram hosts call each other over their wires, as the Worker and a Telegram user's app would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

LANES = 16
CALLS = 300
# The allocator overwrites what is freed: a host that uses it still dies at once. Without what `NativeEngine.stop` does
# first, one died within ten calls.
OVERWRITTEN = {"GLIBC_TUNABLES": "glibc.malloc.perturb=165"}
GONE = 8
TALKING = 15
PATIENCE_S = 60.0
Heard = list[asyncio.Queue[Message]]  # by end


class HostProcess:
    """A host that is not the pool's: who holds the other end of its wire sees all that it says."""

    def __init__(self) -> None:
        self.wire, self._theirs = Wire.pair()
        self.listeners: dict[str, asyncio.Queue[Message]] = {}
        self.gone = False
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
            self.gone = True
            asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
            for queue in self.listeners.values():
                queue.put_nowait({"event": "died"})

    async def stop(self) -> int:
        asyncio.get_running_loop().remove_reader(self.wire.socket.fileno())
        self.wire.close()
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


def open_call(hosts: list[HostProcess], name: str, talk: Talk | None = None) -> Heard:
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
        if talk is not None:
            talk.rings.append(RingPair(os.dup(rings.descriptor)))
        rings.close()
    return heard


async def until(hosts: list[HostProcess], name: str, heard: Heard, own: int, wanted: str) -> None:
    """Hands on what one end signals until it says so."""
    while (event := await heard[own].get())["event"] != wanted:
        assert event["event"] == "signalling"
        hosts[1 - own].wire.send({"command": "signalling", "call": name, "data": event["data"]})


class Talk:
    """Both ends of all its calls speak without a pause, each 20 ms."""

    def __init__(self) -> None:
        self.rings: list[RingPair] = []

    async def keep_talking(self) -> None:
        sound = os.urandom(320)
        while True:
            for rings in self.rings:
                rings.to_telegram.write(sound, time.monotonic())
                rings.to_sip.skip(rings.to_sip.available)
            await asyncio.sleep(0.02)


async def one_call(hosts: list[HostProcess], name: str, dice: random.Random) -> None:
    """Both ends of a call. It is ended right behind a signalling message, or as soon as it is connected."""
    last = dice.choice((1, 2, 3, 4, 5, 6, 7, 99, 99, 99))
    heard = open_call(hosts, name)

    async def one_end(own: int) -> None:
        passed_on = 0
        while (event := await heard[own].get())["event"] != "closed":
            if event["event"] == "died":
                ends = [await host.process.wait() for host in hosts if host.gone]
                raise AssertionError(f"a host died in call {name}: {ends}")
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


def sockets_of(host: HostProcess) -> int:
    there = Path(f"/proc/{host.process.pid}/fd")
    return sum(str(descriptor.readlink()).startswith("socket:") for descriptor in list(there.iterdir()))


async def test_a_call_that_is_closed_is_over_at_once() -> None:
    """The engine would notice by itself that its peer is silent, after some twenty seconds."""
    hosts = [HostProcess(), HostProcess()]
    await asyncio.gather(*(host.start() for host in hosts))
    before = [sockets_of(host) for host in hosts]
    heard = open_call(hosts, "call")

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(until(hosts, "call", heard, own, "connected") for own in (0, 1)))
    assert all(sockets_of(host) > had for host, had in zip(hosts, before, strict=True))
    hosts[0].wire.send({"command": "close", "call": "call"})
    async with asyncio.timeout(10):
        await until(hosts, "call", heard, 0, "closed")
        while sockets_of(hosts[0]) > before[0]:
            await asyncio.sleep(0.02)
    assert [await host.stop() for host in hosts] == [0, 0]


async def test_a_call_ends_soon_beside_others_that_talk() -> None:
    """The engine's threads serve all calls, and have never nothing to do while one talks."""
    hosts = [HostProcess(), HostProcess()]
    await asyncio.gather(*(host.start() for host in hosts))
    talk = Talk()
    calls = {f"call-{number}": open_call(hosts, f"call-{number}", talk) for number in range(TALKING)}
    talking = asyncio.create_task(talk.keep_talking())
    async with asyncio.timeout(PATIENCE_S):
        connected = (until(hosts, name, heard, own, "connected") for name, heard in calls.items() for own in (0, 1))
        await asyncio.gather(*connected)
    began = time.monotonic()
    hosts[0].wire.send({"command": "close", "call": "call-0"})
    async with asyncio.timeout(PATIENCE_S):
        await until(hosts, "call-0", calls["call-0"], 0, "closed")
    assert time.monotonic() - began < 3
    talking.cancel()
    for host in hosts:
        host.process.kill()
        await host.stop()


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
