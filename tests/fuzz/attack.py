"""The attack: strangers, a trunk that calls and a trunk that is called, all with broken messages, and two good calls.

`python -m tests.fuzz.attack` runs it for TELETRUNK_FUZZ_SECONDS with TELETRUNK_FUZZ_SEED and prints a summary.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.actors import Actor, ActorError
from teletrunk_sandbox.world import World

from tests.fuzz.friends import Friends
from tests.fuzz.journal import Journal
from tests.fuzz.peer import Peer
from tests.fuzz.strangers import Strangers
from tests.fuzz.watch import LogWatch, Pinger, memory

SECONDS = float(os.environ.get("TELETRUNK_FUZZ_SECONDS", "15"))
SEED = int(os.environ.get("TELETRUNK_FUZZ_SEED", "1"))
RATE = float(os.environ.get("TELETRUNK_FUZZ_RATE", "150"))  # strangers' messages a second
CALLERS = 4  # calls at once that the hostile trunk makes
GOOD, CALLER, CALLED = "+79990000001", "+79990000011", "+79990000021"
GOOD_FRIENDS = ("+79990000002", "+79990000003")
FRIENDS_OF = {"caller": "+79990000012", "called": "+79990000022"}
PEERS = (("caller", "127.0.1.1", "127.0.0.1"), ("called", "::1", "::1"))  # each with the gateway's address for it
NEVER_BANNED = "127.0.1.0/30"  # the hostile caller: banned, it would be heard no more
SETTLED_S = 110.0  # an INVITE that was broken in its Via has no CANCEL: a friend rings for Telegram's 90 s
_REGISTER_EVERY_S = 200.0
TONES = ((440.0, 620.0), (480.0, 660.0))  # of each good call: the phone's, the friend's


@dataclass
class GoodCall:
    """A call of the good trunk, with a tone each way."""

    number: int
    friend: str


@dataclass
class Field:
    """The world that is attacked."""

    world: World
    journal: Journal
    phone: Actor
    caller: Peer
    called: Peer
    friends: Friends
    log: LogWatch
    calls: list[GoodCall] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    @property
    def worker(self) -> psutil.Process:
        process = self.world.stack.children["worker"].process
        assert process is not None
        return psutil.Process(process.pid)

    async def establish(self) -> None:
        """Two calls of the good trunk: one that it makes, one that it takes."""
        friends = self.world.subscribers
        for number, (friend, (ours, theirs)) in enumerate(zip(GOOD_FRIENDS, TONES, strict=True)):
            if number < len(self.calls):
                continue
            if number == 0:
                await friends.tell("behave", phone=friend, on_call="answer", play={"hz": theirs})
                call = (await self.phone.tell("call", to=friend, play={"hz": ours}))["call"]
            else:
                await self.phone.tell("behave", on_call="answer", play={"hz": ours})
                await friends.tell("call", phone=friend, to=GOOD, play={"hz": theirs})
                call = (await self.phone.wait("incoming"))["call"]
            await self.phone.wait("established", call=call)
            self.calls.append(GoodCall(call, friend))

    async def tones(self) -> list[tuple[float, float]]:
        """What is heard in each good call, in its last three seconds: at the phone, at the friend."""
        heard = []
        for call in self.calls:
            here = await self.phone.tell("heard", call=call.number, last_s=3.0)
            there = await self.world.subscribers.tell("heard", phone=call.friend, last_s=3.0)
            heard.append((float(here["hz"]), float(there["hz"])))
        return heard

    async def live_calls(self) -> int:
        """Of the Worker, as it tells the Manager."""
        services = (await self.world.admin.ListServices(admin_pb2.ListServicesRequest(), timeout=5)).services
        return sum(service.active_calls for service in services if service.attached)

    async def settle(self) -> int:
        """Waits until only the good calls are left; how many are left in the end."""
        until = time.monotonic() + SETTLED_S
        while (left := await self.live_calls()) > len(self.calls) and time.monotonic() < until:
            await asyncio.sleep(0.5)
        return left


@contextlib.asynccontextmanager
async def field_of(directory: Path, seed: int) -> AsyncIterator[Field]:
    journal = Journal(directory, seed)
    world = World(
        directory / "world",
        sip_host="[::]",  # both families at one port
        TELETRUNK_PUBLIC_ADDRESS="127.0.0.1",
        TELETRUNK_NEVER_BANNED=NEVER_BANNED,
    )
    async with world, contextlib.AsyncExitStack() as stack:
        trunks = {}
        for phone, name in ((GOOD, "good"), (CALLER, "caller"), (CALLED, "called")):
            account = await world.add_account(phone, f"gateway{name}")
            trunks[name] = await world.add_trunk(phone)
            await world.active(account.account_id)
        for friend in GOOD_FRIENDS:
            await world.subscribers.tell("user", phone=friend, first_name=f"Friend {friend}")
        friends = await stack.enter_async_context(Friends(world, list(FRIENDS_OF.values())))
        peers = {}
        for number, (name, host, at) in enumerate(PEERS, 1):
            trunk = trunks[name]
            server = (at, world.sip_port)
            peer = peers[name] = Peer(name, server, trunk.trunk.login, trunk.password, journal, seed * 10 + number)
            await peer.open(host)
            stack.callback(peer.close)
            if (status := await peer.register()) != 200:
                raise RuntimeError(f"{name} is not registered: {status}")
        good_phone = await world.phone(trunks["good"])
        log = LogWatch(world.directory / "data" / "logs" / "worker.log")
        ground = Field(world, journal, good_phone, peers["caller"], peers["called"], friends, log)
        await ground.establish()
        yield ground


async def attack(ground: Field, seconds: float, seed: int, *, go_on: bool = True, rate: float = RATE) -> Pinger:
    """For so long; without `go_on` until something breaks. What broke is in the journal."""
    journal, broken = ground.journal, asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(what: str) -> None:
        journal.broken(what)
        if not go_on:
            broken.set()

    def slow(took: float) -> None:
        loop.call_soon_threadsafe(note, f"OPTIONS took {took:.2f} s")

    pinger = Pinger(("127.0.0.1", ground.world.sip_port), slow)
    ground.log.look()
    ground.memory.append(memory(ground.worker))
    strangers = Strangers(ground.world.sip_port, journal, seed, rate)
    works = [
        strangers.run(),
        *(_call(ground, random.Random(seed * 100 + number)) for number in range(CALLERS)),
        _be_called(ground, random.Random(seed * 100 + CALLERS)),
        _watch(ground, note, pause=seconds / 3),
    ]
    tasks = [loop.create_task(work) for work in works]
    waiting = loop.create_task(broken.wait())
    pinger.start()
    try:
        done, _ = await asyncio.wait([*tasks, waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # an attack that fails by itself proves nothing
    finally:
        for task in [*tasks, waiting]:
            task.cancel()
        await asyncio.wait([*tasks, waiting], timeout=10)
        await asyncio.to_thread(pinger.stop)
    for news in ground.log.look():
        note(news)
    return pinger


async def _call(ground: Field, rng: random.Random) -> None:
    """The hostile trunk calls, whatever its friend then does."""
    friend = FRIENDS_OF["caller"]
    while True:
        behaviour = {"on_call": rng.choice(["answer", "answer", "ring", "decline"]), "delay_s": rng.choice([0, 0, 0.3])}
        with contextlib.suppress(ActorError):
            await ground.friends.tell("behave", phone=friend, **behaviour)
        if rng.random() < 0.1:
            await ground.caller.register(broken=True)
            await ground.caller.register()
        await ground.caller.call(friend)
        await asyncio.sleep(0.05)


async def _be_called(ground: Field, rng: random.Random) -> None:
    """A friend calls the hostile trunk again and again."""
    friend, friends = FRIENDS_OF["called"], ground.friends
    registered_at = time.monotonic()
    while True:
        if time.monotonic() - registered_at > _REGISTER_EVERY_S:
            registered_at = time.monotonic()
            await ground.called.register()
        with contextlib.suppress(ActorError):
            await friends.tell("call", phone=friend, to=CALLED)
            if not await friends.ended(friend, rng.choice([0.5, 1.5, 4.0])):
                await friends.tell("hangup", phone=friend)
        await asyncio.sleep(0.1)


async def _watch(ground: Field, note: Callable[[str], None], pause: float) -> None:
    """The log, the good calls, the Worker itself; memory at the start of each third."""
    pid, began, samples = ground.worker.pid, time.monotonic(), 1
    while True:
        await asyncio.sleep(0.25)
        for news in ground.log.look():
            note(news)
        if ground.worker.pid != pid:
            note(f"the Worker's process died: {pid}")
            pid = ground.worker.pid
        for call in list(ground.calls):
            with contextlib.suppress(ActorError):
                ended = await ground.phone.wait("ended", deadline=0.01, call=call.number)
                ground.calls.remove(call)
                note(f"a good call ended: {ended}")
        if time.monotonic() - began > samples * pause:
            samples += 1
            ground.memory.append(memory(ground.worker))


def summary(ground: Field, pinger: Pinger, left: int) -> str:
    """One screen."""
    journal, log = ground.journal, ground.log
    rows = [
        f"seed {journal.seed}",
        "sent       " + ", ".join(f"{kind} {count}" for kind, count in sorted(journal.sent.items())),
        "answers    " + ", ".join(f"{kind} {count}" for kind, count in sorted(journal.answers.items())),
        "unanswered " + ", ".join(f"{kind} {count}" for kind, count in journal.unanswered.most_common(8)),
        f"OPTIONS    {pinger.answered} answered, the slowest after {pinger.slowest:.3f} s",
        *(f"memory MB  {sample}" for sample in ground.memory),
        f"log        {dict(log.found)}, the longest line {log.longest_line}",
        f"calls left {left}, good ones {len(ground.calls)}; the friends' process crashed {ground.friends.crashes}",
        f"breaks     {len(journal.breaks)}",
        *(f"           {what[:200]}" for what in journal.breaks[:20]),
    ]
    return "\n".join(rows)


async def main() -> int:
    directory = Path(os.environ.get("TELETRUNK_FUZZ_DIRECTORY") or tempfile.mkdtemp(prefix="teletrunk-fuzz-"))
    directory.mkdir(parents=True, exist_ok=True)
    async with field_of(directory, SEED) as ground:
        pinger = await attack(ground, SECONDS, SEED, go_on="--stop" not in sys.argv)
        left = await ground.settle()
        ground.memory.append(memory(ground.worker))
        print(summary(ground, pinger, left))
        if len(ground.calls) == len(TONES):
            print("tones     ", await ground.tones())
        return 1 if ground.journal.breaks else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
