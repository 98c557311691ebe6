"""What bridged calls cost: CPU, memory, late sound, delay, and our own share of the set-up, at growing numbers.

Counted are the gateway's processes: Manager, Session Storage, Worker and its hosts. The phones, the Telegram users and
the local Telegram run on the same machine and are not counted, but they take its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.demo import own_setup_ms
from teletrunk_sandbox.world import World
from teletrunk_worker.legs.priority import before_others

_GATEWAY = "+79990000001"
_CALLS_A_PHONE = 4
# People begin to speak when all calls are up, and what their set-up has taught jitter buffers is forgotten: the set-up
# of others is no call's delay. WebRTC's takes a minute and a half for what twenty of them do to two cores.
_A_SETUP_S, _SETTLED_S, _FORGOTTEN_S = 1.5, 5.0, 4.5  # the first and the last for each call
_ALONE = ("+79992000001", "+79992000002")  # two friends who talk with each other all the time
_FRIENDS_A_PROCESS = 5  # of twenty, each thread waits for the others' turns: half a second of sound lay there
_FRIENDS_RATE = "16000"  # at 48,000 what these take leaves too little of two cores for 20 calls
_TICK_S = 0.01
_DELAYS = ("telegram_alone_ms", "one_way_to_telegram_ms", "one_way_to_sip_ms", "in_phones_buffer_ms")
_PART_NAMES = {"sip_host": "SIP hosts", "telegram_host": "Telegram hosts"}


def _friend(index: int) -> str:
    return f"+7999100{index:04d}"


def _processes(world: World) -> Iterator[tuple[str, psutil.Process]]:
    """The gateway's processes, each with the part that it belongs to."""
    for name in ("manager", "session-store", "worker"):
        process = world.stack.children[name].process
        assert process is not None
        parent = psutil.Process(process.pid)
        yield name, parent
        for child in parent.children(recursive=True):
            command = " ".join(child.cmdline())
            yield next((part for key, part in _PART_NAMES.items() if key in command), name), child


def cpu_s(world: World) -> dict[str, float]:
    used: dict[str, float] = {}
    for part, process in _processes(world):
        times = process.cpu_times()
        used[part] = used.get(part, 0.0) + times.user + times.system
    return used


def memory_mb(world: World) -> dict[str, float]:
    """Proportional set size: shared pages are counted once."""
    used: dict[str, float] = {}
    for part, process in _processes(world):
        used[part] = used.get(part, 0.0) + process.memory_full_info().pss / 1e6
    return used


class Ticker(threading.Thread):
    """How late a thread with nothing to do wakes up, as early as a host may be woken: what this machine takes from any
    sound of 10 ms. Where that is several milliseconds once in a thousand times, no gateway keeps less in its rings."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._count = round(seconds / _TICK_S)
        self._late: list[float] = []

    def run(self) -> None:
        before_others()
        due = time.monotonic()
        for _ in range(self._count):
            due += _TICK_S
            time.sleep(max(0.0, due - time.monotonic()))
            self._late.append((time.monotonic() - due) * 1000)

    def late_ms(self) -> dict[str, float]:
        """Once in a thousand times, and at worst."""
        self.join()
        once = statistics.quantiles(self._late, n=1000, method="inclusive")[-1]
        return {"once_in_1000": round(once, 1), "max": round(max(self._late), 1)}


class Bench:
    def __init__(self, world: World, phones: list[Actor], people: list[Actor], seconds: float) -> None:
        self._world = world
        self._phones = phones
        self._alone, *self._friends = people
        self._seconds = seconds
        self._seen: set[str] = set()

    async def run(self, count: int) -> dict[str, Any]:
        memory_before = memory_mb(self._world)
        silent_s = _SETTLED_S + count * (_A_SETUP_S + _FORGOTTEN_S)
        await self._begin_alone(silent_s)
        calls = [await self._establish(index, silent_s - index * _A_SETUP_S) for index in range(count)]
        await asyncio.sleep(_SETTLED_S + count * _FORGOTTEN_S)
        psutil.cpu_percent(None)
        cpu_before, began = cpu_s(self._world), time.monotonic()
        ticker = Ticker(self._seconds)
        ticker.start()
        await asyncio.sleep(self._seconds)  # the talking, which is what is measured
        cpu, took = cpu_s(self._world), time.monotonic() - began
        machine, memory = psutil.cpu_percent(None), memory_mb(self._world)
        in_phone = [await self._held_back(index, call) for index, call in enumerate(calls)]
        for index, call in enumerate(calls):
            phone = self._phones[index // _CALLS_A_PHONE]
            await phone.tell("hangup", call=call)
            await phone.wait("ended", call=call)
        await self._alone.tell("hangup", phone=_ALONE[0])
        await self._alone.wait("ended", phone=_ALONE[1])
        # Only now: to judge what was heard takes a processor for seconds, which no call should lack.
        heard = [await self._heard(index, call) for index, call in enumerate(calls)]
        records = [await self._record() for _ in calls]
        percent = {part: 100 * (cpu[part] - cpu_before.get(part, 0.0)) / took for part in cpu}
        return {
            "calls": count,
            "cpu_percent": {part: round(value, 2) for part, value in percent.items()},
            "cpu_percent_a_call": round(sum(percent.values()) / count, 2),
            "memory_mb": {part: round(value, 1) for part, value in memory.items()},
            "memory_mb_a_call": round((sum(memory.values()) - sum(memory_before.values())) / count, 1),
            "late_to_telegram": sum(record.media.late_to_telegram for record in records),
            "late_to_sip": sum(record.media.late_to_sip for record in records),
            "blocks": int(count * took * 100),
            "rtp_lost": sum(record.media.rtp_lost for record in records),
            "telegram_alone_ms": await self._telegram_alone(),
            "one_way_to_telegram_ms": _spread([delay["to_telegram"] for delay in heard]),
            "one_way_to_sip_ms": _spread([delay["to_sip"] for delay in heard]),
            "in_phones_buffer_ms": _spread(in_phone),
            "snr_db": round(min(delay["snr_db"] for delay in heard), 1),
            "own_setup_ms": _spread([own_setup_ms(record) for record in records]),
            "machine_percent": round(machine, 1),
            "machine_late_ms": await asyncio.to_thread(ticker.late_ms),
        }

    async def _establish(self, index: int, silent_s: float) -> int:
        phone, friend = self._phones[index // _CALLS_A_PHONE], _friend(index)
        play = {"hz": 620.0, "after_s": silent_s}
        await self._friends_of(index).tell("behave", phone=friend, on_call="answer", delay_s=0, play=play)
        call = int((await phone.tell("call", to=friend, play={"hz": 440.0, "after_s": silent_s}))["call"])
        await phone.wait("established", call=call)
        return call

    async def _begin_alone(self, silent_s: float) -> None:
        """Two Telegram users without us, beside the calls, with all that these do to the machine."""
        caller, called = _ALONE
        play = {"hz": 440.0, "after_s": silent_s}
        await self._alone.tell("behave", phone=called, on_call="answer", delay_s=0, play=play)
        await self._alone.tell("call", phone=caller, to=called, play=play)
        await self._alone.wait("connected", phone=caller)

    async def _telegram_alone(self) -> dict[str, float]:
        """One way: what no gateway can take away."""
        ends = [await self._alone.tell("heard", phone=phone) for phone in _ALONE]
        return _spread([(a["onset_at"] - b["play_started_at"]) * 1000 for a, b in (ends, ends[::-1])])

    def _friends_of(self, index: int) -> Actor:
        return self._friends[index // _FRIENDS_A_PROCESS]

    async def _held_back(self, index: int, call: int) -> float:
        return float((await self._phones[index // _CALLS_A_PHONE].tell("held_back", call=call))["ms"])

    async def _heard(self, index: int, call: int) -> dict[str, float]:
        phone = self._phones[index // _CALLS_A_PHONE]
        here = await phone.tell("heard", call=call)
        there = await self._friends_of(index).tell("heard", phone=_friend(index))
        return {
            "to_telegram": (there["onset_at"] - here["play_started_at"]) * 1000,
            "to_sip": (here["onset_at"] - there["play_started_at"]) * 1000,
            "snr_db": min(here["snr_db"], there["snr_db"]),
        }

    async def _record(self) -> Any:
        record = await self._world.record(self._seen)
        self._seen.add(record.call_id)
        return record


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "max": round(max(values), 1)}


@contextlib.asynccontextmanager
async def _people(world: World, phones: Sequence[str]) -> AsyncIterator[Actor]:
    """A process of Telegram users."""
    async with world.people("--rate", _FRIENDS_RATE) as actor:
        for phone in phones:
            await actor.tell("user", phone=phone, first_name=phone)
        yield actor


async def _measure(
    counts: list[int], seconds: float, settings: dict[str, str], *, adaptive: bool
) -> list[dict[str, Any]]:
    most = max(counts)
    with tempfile.TemporaryDirectory(prefix="teletrunk-bench-") as directory:
        async with (
            World(Path(directory), TELETRUNK_MAX_CALLS=str(max(20, most)), **settings) as world,
            contextlib.AsyncExitStack() as stack,
        ):
            account = await world.add_account(_GATEWAY, "gateway")
            trunk = await world.add_trunk(_GATEWAY)
            await world.active(account.account_id)
            people = [await stack.enter_async_context(_people(world, _ALONE))]
            for first in range(0, most, _FRIENDS_A_PROCESS):
                names = [_friend(index) for index in range(first, first + _FRIENDS_A_PROCESS)]
                people.append(await stack.enter_async_context(_people(world, names)))
            buffer = ("--adaptive",) if adaptive else ()
            phones = [await world.phone(trunk, "udp", "sip-phone", *buffer) for _ in range(-(-most // _CALLS_A_PHONE))]
            bench = Bench(world, phones, people, seconds)
            results = []
            for count in counts:
                results.append(await bench.run(count))
                print(json.dumps(results[-1]), flush=True)
            return results


def _show(results: list[dict[str, Any]]) -> None:
    table = Table(title="Bridged G.711 calls; median / worst (of the machine: once in 1,000 / worst)", show_lines=True)
    columns = ("calls", "CPU % a call", "CPU % by part", "MB a call", "MB in all", "late of blocks", "RTP lost",
               "Telegram alone ms", "one way to Telegram ms", "one way to phone ms", "of it in the phone's buffer",
               "SNR dB", "own set-up ms", "machine %", "machine late ms")  # fmt: skip
    for column in columns:
        table.add_column(column)
    for r in results:
        table.add_row(
            str(r["calls"]),
            str(r["cpu_percent_a_call"]),
            "\n".join(f"{part} {value}" for part, value in r["cpu_percent"].items()),
            str(r["memory_mb_a_call"]),
            str(round(sum(r["memory_mb"].values()))),
            f"{r['late_to_telegram']} + {r['late_to_sip']} of {r['blocks']}",
            str(r["rtp_lost"]),
            *(f"{r[key]['median']} / {r[key]['max']}" for key in _DELAYS),
            str(r["snr_db"]),
            f"{r['own_setup_ms']['median']} / {r['own_setup_ms']['max']}",
            str(r["machine_percent"]),
            f"{r['machine_late_ms']['once_in_1000']} / {r['machine_late_ms']['max']}",
        )
    Console(width=200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", default="1,5,10,20")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a TELETRUNK_ setting")
    parser.add_argument("--fixed-buffers", action="store_true", help="phones hold 40 ms of sound back, as in the tests")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    settings = dict(item.split("=", 1) for item in arguments.set)
    counts = [int(n) for n in arguments.calls.split(",")]
    results = asyncio.run(_measure(counts, arguments.seconds, settings, adaptive=not arguments.fixed_buffers))
    _show(results)
    if arguments.report:
        arguments.report.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
