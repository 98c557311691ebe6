"""Calls that come and go for a long time: every one has its record, and memory, descriptors and hosts do not grow."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path

import psutil
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

_GATEWAY = "+79990000001"
_AT_ONCE = 6
_CALLS_A_PHONE = 4
_MOST_GROWTH_MB = 40.0


def _held(world: World) -> tuple[float, int, int]:
    """Memory (PSS, MB), open descriptors and processes of the gateway."""
    processes: list[psutil.Process] = []
    for name in ("manager", "session-store", "worker"):
        process = world.stack.children[name].process
        assert process is not None
        parent = psutil.Process(process.pid)
        processes += [parent, *parent.children(recursive=True)]
    memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    return memory, sum(process.num_fds() for process in processes), len(processes)


async def _caller(world: World, phone: Actor, index: int, until: float) -> int:
    friend = f"+7999100{index:04d}"
    made = 0
    while time.monotonic() < until:
        answers = made % 3 != 2
        behaviour = {"on_call": "answer" if answers else "decline", "delay_s": 0.2}
        await world.subscribers.tell("behave", phone=friend, **behaviour, play={"hz": 620.0})
        call = (await phone.tell("call", to=friend, play={"hz": 440.0}))["call"]
        made += 1
        if answers:
            await phone.wait("established", call=call)
            await asyncio.sleep(1 + made % 5)
            await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)
    return made


async def _recorded(world: World, made: int) -> int:
    """How many records there are, once there are as many as calls, or no more come."""
    for _ in range(20):
        if len(await world.call_ids()) >= made:
            break
        await asyncio.sleep(0.5)
    return len(await world.call_ids())


async def _soak(seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="teletrunk-soak-") as directory:
        async with World(Path(directory)) as world:
            account = await world.add_account(_GATEWAY, "gateway")
            trunk = await world.add_trunk(_GATEWAY)
            await world.active(account.account_id)
            for index in range(_AT_ONCE):
                await world.subscribers.tell("user", phone=f"+7999100{index:04d}", first_name=f"Friend {index}")
            phones = [await world.phone(trunk) for _ in range(-(-_AT_ONCE // _CALLS_A_PHONE))]
            lanes = [(phones[index // _CALLS_A_PHONE], index) for index in range(_AT_ONCE)]

            async def round_of(length: float) -> int:
                until = time.monotonic() + length
                return sum(await asyncio.gather(*(_caller(world, phone, i, until) for phone, i in lanes)))

            made = await round_of(min(60.0, seconds / 4))  # pools and caches fill
            first = _held(world)
            for part in itertools.count(1):
                if part > 4:
                    break
                made += await round_of(seconds / 4)
                memory, descriptors, processes = _held(world)
                print(f"{made} calls: {memory:.0f} MB, {descriptors} descriptors, {processes} processes", flush=True)
            recorded = await _recorded(world, made)
    print(f"calls made {made}, records {recorded}; at first {first[0]:.0f} MB, {first[1]} descriptors")
    return recorded == made and memory - first[0] < _MOST_GROWTH_MB and descriptors <= first[1] + 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    sys.exit(0 if asyncio.run(_soak(parser.parse_args().seconds)) else 1)


if __name__ == "__main__":
    main()
