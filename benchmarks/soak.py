"""Calls that come and go for a long time: every one has its record, and memory, descriptors and hosts do not grow."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from teletrunk_sandbox.actors import Actor, ActorError
from teletrunk_sandbox.world import World

_GATEWAY = "+79990000001"
_AT_ONCE = 6
_CALLS_A_PHONE = 4
_MOST_GROWTH_MB = 40.0
_DECLINED = 486


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


@dataclass
class _Tally:
    """What became of all calls so far."""

    made: int = 0
    failed: int = 0
    void: int = 0  # their friend's process had crashed: its engine is native code, too


class _Lane:
    """One call after the other from a place of a phone to one friend, who declines each third."""

    def __init__(
        self, world: World, phone: Actor, number: str, tally: _Tally, exits: contextlib.AsyncExitStack
    ) -> None:
        self._world, self._phone, self._number, self._tally, self._exits = world, phone, number, tally, exits
        self._friend: Actor

    async def sign_in(self) -> None:
        self._friend = await self._exits.enter_async_context(self._world.people())
        await self._friend.tell("user", phone=self._number, first_name="Friend")

    async def keep_calling(self, until: float) -> None:
        for number in itertools.count():
            if time.monotonic() >= until:
                return
            try:
                await self._call(talk_s=1.0 + number % 5, answered=number % 3 != 2)
            except (ActorError, TimeoutError, ConnectionError) as error:
                if self._friend.process.returncode is not None:
                    self._tally.void += 1
                    await self.sign_in()
                    continue
                self._tally.failed += 1
                print(f"a call failed: {type(error).__name__}: {str(error)[:200]}", flush=True)

    async def _call(self, *, talk_s: float, answered: bool) -> None:
        behaviour: dict[str, Any] = {
            "on_call": "answer" if answered else "decline",
            "delay_s": 0.2,
            "play": {"hz": 620.0},
        }
        await self._friend.tell("behave", phone=self._number, **behaviour)
        self._tally.made += 1
        phone = self._phone
        call = (await phone.tell("call", to=self._number, play={"hz": 440.0}))["call"]
        try:
            if answered:
                await phone.wait("established", call=call)
                await asyncio.sleep(talk_s)
                await phone.tell("hangup", call=call)
            await phone.wait("ended", call=call, **({} if answered else {"status": _DECLINED}))
        except ActorError:
            with contextlib.suppress(ActorError):  # the next call needs its place
                await phone.tell("hangup", call=call)
            raise


async def _recorded(world: World, made: int) -> int:
    """How many records there are, once there are as many as calls, or no more come."""
    for _ in range(20):
        if len(await world.call_ids()) >= made:
            break
        await asyncio.sleep(0.5)
    return len(await world.call_ids())


async def _soak(seconds: float) -> bool:
    async with contextlib.AsyncExitStack() as exits:
        directory = exits.enter_context(tempfile.TemporaryDirectory(prefix="teletrunk-soak-"))
        world = await exits.enter_async_context(World(Path(directory)))
        account = await world.add_account(_GATEWAY, "gateway")
        trunk = await world.add_trunk(_GATEWAY)
        await world.active(account.account_id)
        phones = [await world.phone(trunk) for _ in range(-(-_AT_ONCE // _CALLS_A_PHONE))]
        tally = _Tally()
        lanes = [_Lane(world, phones[index // _CALLS_A_PHONE], f"+7999100{index:04d}", tally, exits)
                 for index in range(_AT_ONCE)]  # fmt: skip
        for lane in lanes:
            await lane.sign_in()

        async def round_of(length: float) -> None:
            until = time.monotonic() + length
            await asyncio.gather(*(lane.keep_calling(until) for lane in lanes))

        await round_of(min(60.0, seconds / 4))  # pools and caches fill
        first = _held(world)
        for _ in range(4):
            await round_of(seconds / 4)
            memory, descriptors, processes = _held(world)
            held = f"{memory:.0f} MB, {descriptors} descriptors, {processes} processes"
            print(f"{tally.made} calls, {tally.failed} failed: {held}", flush=True)
        recorded = await _recorded(world, tally.made)
    print(f"calls made {tally.made}, failed {tally.failed}, void {tally.void}, records {recorded}")
    print(f"at first {first[0]:.0f} MB, {first[1]} descriptors")
    complete = recorded == tally.made and not tally.failed
    return complete and memory - first[0] < _MOST_GROWTH_MB and descriptors <= first[1] + 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    sys.exit(0 if asyncio.run(_soak(parser.parse_args().seconds)) else 1)


if __name__ == "__main__":
    main()
