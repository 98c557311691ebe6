"""A Worker's SIP port, calls and SIP hosts, with nobody behind them: who calls is let in, and Telegram talks at once.

So a second has many calls, and what PBXs answer to ours is tried thousands of times. `python -m tests.fuzz.exchange`
runs it for TELETRUNK_FUZZ_SECONDS with TELETRUNK_FUZZ_SEED and prints a summary.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import structlog
from prometheus_client import REGISTRY
from teletrunk.service import Service
from teletrunk.v1 import call_pb2, manager_pb2, trunk_pb2
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_sandbox.ports import held
from teletrunk_worker.calls import Calls, Rim
from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.refused_calls import RefusedCalls
from teletrunk_worker.server import responder
from teletrunk_worker.server.port import SipPort

from tests.fuzz.journal import Journal
from tests.fuzz.open_line import Telegram
from tests.fuzz.peer import Heard, Peer
from tests.fuzz.watch import Pinger, memory

SECONDS = float(os.environ.get("TELETRUNK_FUZZ_SECONDS", "10"))
SEED = int(os.environ.get("TELETRUNK_FUZZ_SEED", "1"))
HOSTS, CALLS_A_HOST = 6, 4
GOOD_CALLS = 2
_RTP_PORTS = 32  # of a host
_MOST_CALLS = 16  # of hostile trunks, at once: the good ones keep their places
_CALLERS = 4  # of each hostile trunk
_HOSTILE = (("v4", "127.0.1.1", "127.0.0.1"), ("v6", "::1", "::1"))  # with the gateway's address for each
_GOOD = ("good", "127.0.0.77", "127.0.0.1")
_LONG_S = min(60.0, SECONDS / 3)  # some calls last until session timers are refreshed
_FOR_EVER_S = 24 * 3_600.0
_FIRST_ANSWER_S = 8.0
_REGISTER_EVERY_S = 200.0
_SETTLED_S = _LONG_S + 40.0  # the last call begins as the attack ends
_WARM_S = 5.0
_KEPT = 40  # of what a host was sent
Place = tuple[str, str, str]
_DTMF = (trunk_pb2.DTMF_METHOD_INFO, trunk_pb2.DTMF_METHOD_RFC4733)


class HostTape:
    """What each SIP host was sent last, by its port: of one that died, written to a file."""

    def __init__(self, port: SipPort, hosts: HostPool, directory: Path) -> None:
        self._last: dict[int, deque[bytes]] = {}
        self._hosts = hosts
        self._directory = directory
        inside = port._inside
        self._send = inside.send
        inside.send = self._note_and_send  # type: ignore[method-assign]

    def _note_and_send(self, data: bytes, peer: tuple[str, int]) -> bool:
        self._last.setdefault(peer[1], deque(maxlen=_KEPT)).append(data)
        return self._send(data, peer)

    def write(self) -> None:
        for gone in [port for port in self._last if not self._hosts.has_port(port)]:
            lines = [repr(data) for data in self._last.pop(gone)]
            file = self._directory / f"host-{gone}.txt"
            if not file.exists():  # else it is what was sent to nobody
                file.write_text("\n".join(lines) + "\n")


class GoodPeer(Peer):
    """Answers as it should, and wants its calls to stay up."""

    up = 0
    ended: Callable[[str], None]

    async def _called(self, invite: Heard) -> None:
        body, _ = self.body(0.0)
        body = body.replace(b"sendrecv", b"recvonly")  # it has no sound, and is not missed for that
        self.say("200", self.answer(invite, "200 OK", body, tag="good"))
        self.up += 1

    def reply(self, heard: Heard, tag: str = "") -> None:
        if heard.method == "BYE":
            self.ended(f"a good call ended: {heard.header('Reason')}")
        if heard.method != "ACK":
            self.say("200", self.answer(heard, "200 OK"))


APeer = TypeVar("APeer", bound=Peer)


@dataclass
class Exchange:
    port: SipPort
    calls: Calls
    telegram: Telegram
    journal: Journal
    hostile: list[Peer]
    good: GoodPeer
    memory: list[dict[str, float]] = field(default_factory=list)

    def measure(self) -> None:
        self.memory.append(memory(psutil.Process()))

    def rings(self, session: str, number: int) -> None:
        caller = call_pb2.Peer(user_id=number, first_name='Ä "<\\ \u202e', phone="1")
        self.calls.on_incoming(pb.IncomingCall(session_id=session, phone_call_id=number, caller=caller))

    async def good_calls(self, count: int) -> None:
        for number in range(count):
            self.rings(self.good.login, number)
            async with asyncio.timeout(20):
                while self.good.up <= number:
                    await asyncio.sleep(0.05)

    async def settle(self) -> int:
        until = time.monotonic() + _SETTLED_S
        while self.calls.count > self.good.up and time.monotonic() < until:
            await asyncio.sleep(0.2)
        return self.calls.count


@contextlib.asynccontextmanager
async def exchange(directory: Path, seed: int) -> AsyncIterator[Exchange]:
    journal, telegram = Journal(directory, seed), Telegram(random.Random(seed), _LONG_S)
    places = (*_HOSTILE, _GOOD)
    for name, _, _ in places:
        telegram.sessions[name] = manager_pb2.SessionAssignment(session_id=name, storage_address="x")
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_told_of_every_mistake(journal))
        port, calls = await _worker(stack, telegram, journal)
        hostile = [await _peer(stack, Peer, place, port, journal) for place in _HOSTILE]
        good = await _peer(stack, GoodPeer, _GOOD, port, journal)
        good.ended = journal.broken
        telegram.lasts[good.login] = _FOR_EVER_S
        port.trunks.put(_trunk(name, _DTMF[number % 2]) for number, (name, _, _) in enumerate(places))
        ground = Exchange(port, calls, telegram, journal, hostile, good)
        await ground.good_calls(GOOD_CALLS)
        yield ground


@contextlib.contextmanager
def _told_of_every_mistake(journal: Journal) -> Iterator[None]:
    loop, config, pause = asyncio.get_running_loop(), structlog.get_config(), responder._FIRST_OF_S
    loop.set_exception_handler(
        lambda _, context: journal.broken(f"loop: {context.get('exception') or context['message']}")
    )
    structlog.configure(processors=[_watching(journal)], wrapper_class=structlog.make_filtering_bound_logger(30))
    responder._FIRST_OF_S = 0.0
    try:
        yield
    finally:
        responder._FIRST_OF_S = pause
        structlog.configure(**config)
        loop.set_exception_handler(None)


async def _worker(stack: contextlib.AsyncExitStack, telegram: Telegram, journal: Journal) -> tuple[SipPort, Calls]:
    calls = Calls(Service("worker"), HOSTS * CALLS_A_HOST)
    port = SipPort(calls, "::", 0, ("127.0.0.1", "::1"), bans=Bans(()))
    await port.start()
    stack.push_async_callback(port.close)
    hosts = HostPool("sip", "teletrunk_worker.legs.sip_host", CALLS_A_HOST, HOSTS * CALLS_A_HOST)
    stack.push_async_callback(hosts.close)
    refused = RefusedCalls(lambda *_: True, telegram.report)
    calls.rim = Rim("w", port, hosts, telegram, telegram, telegram, refused, _FIRST_ANSWER_S)
    stack.push_async_callback(calls.close)
    first = stack.enter_context(held(HOSTS * _RTP_PORTS))
    await hosts.start(lambda index, wide: _settings(port, first + index * _RTP_PORTS, wide=wide))
    port.is_host = hosts.has_port
    journal.on_break = HostTape(port, hosts, journal.directory).write
    calls.configure(manager_pb2.WorkerConfig())
    return port, calls


async def _peer(
    stack: contextlib.AsyncExitStack, kind: type[APeer], place: Place, port: SipPort, journal: Journal
) -> APeer:
    name, host, at = place
    peer = kind(name, (at, port.port), name, "x", journal, journal.seed * 10 + len(host), _LONG_S)
    await peer.open(host)
    stack.callback(peer.close)
    if (status := await peer.register()) != 200:
        raise RuntimeError(f"{name} is not registered: {status}")
    return peer


def _trunk(name: str, dtmf: trunk_pb2.DtmfMethod.ValueType) -> manager_pb2.TrunkSettings:
    return manager_pb2.TrunkSettings(trunk_id=name, login=name, options=trunk_pb2.TrunkOptions(dtmf=dtmf))


def _settings(port: SipPort, rtp_port: int, *, wide: bool) -> Message:
    return {
        "command": "configure", "hears_all": True, "rate": 16_000 if wide else 8_000, "max_calls": CALLS_A_HOST,
        "edge_port": port.inside_port, "public_address": "127.0.0.1", "public_port": port.port,
        "media_address": "127.0.0.1", "rtp_address": "", "rtp_port": rtp_port, "rtp_ports": _RTP_PORTS,
    }  # fmt: skip


def _watching(journal: Journal) -> Callable[..., Any]:
    """A log in which whatever is an error of ours is a break."""

    def watch(_: object, level: str, event: dict[str, Any]) -> None:
        if level in ("error", "critical", "exception") or event.get("exc_info"):
            journal.broken(f"log: {event} {_place_of(event.get('exc_info'))}")
        raise structlog.DropEvent

    return watch


def _place_of(error: object) -> str:
    """Where an exception was raised."""
    error = sys.exception() if error is True else error
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, BaseException) else []
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-5:]))


async def attack(ground: Exchange, seconds: float, seed: int) -> Pinger:
    """For so long. What broke is in the journal."""
    journal, loop = ground.journal, asyncio.get_running_loop()
    mistakes = _mistakes()
    pinger = Pinger(("127.0.0.1", ground.port.port), lambda took: None)  # the attackers are in the same loop
    works = [_ring(ground, random.Random(seed)), _wish(ground, random.Random(seed + 1)), _measure(ground, seconds)]
    works.append(_stay_registered(ground))
    works += [_call(peer) for peer in ground.hostile for _ in range(_CALLERS)]
    tasks = [loop.create_task(work) for work in works]
    pinger.start()
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
        await asyncio.to_thread(pinger.stop)
    if (more := _mistakes() - mistakes) > 0:
        journal.broken(f"{more:.0f} messages met an error of ours")
    return pinger


def _mistakes() -> float:
    return REGISTRY.get_sample_value("teletrunk_sip_errors_total") or 0.0


async def _call(peer: Peer) -> None:
    while True:
        await peer.call("100")
        await asyncio.sleep(0.05)


async def _ring(ground: Exchange, rng: random.Random) -> None:
    """Telegram calls the hostile trunks, as often as there is room."""
    for number in itertools.count(100):
        while ground.calls.count >= _MOST_CALLS:
            await asyncio.sleep(0.02)
        ground.rings(rng.choice(ground.hostile).login, number)
        await asyncio.sleep(0.05)


async def _stay_registered(ground: Exchange) -> None:
    while True:
        await asyncio.sleep(_REGISTER_EVERY_S)
        for peer in (*ground.hostile, ground.good):
            await peer.register()


async def _wish(ground: Exchange, rng: random.Random) -> None:
    """Keys are pressed at Telegram."""
    while True:
        await asyncio.sleep(0.2)
        for live in ground.calls.live():
            if rng.random() < 0.1:
                ground.calls.wish(manager_pb2.CallWish(call_id=live.call_id, digits=rng.choice(["1", "#,2", "ABCD"])))


async def _measure(ground: Exchange, seconds: float) -> None:
    """Once it is warm, and then in each third."""
    await asyncio.sleep(min(_WARM_S, seconds / 3))
    while True:
        ground.measure()
        await asyncio.sleep(seconds / 3)


def summary(ground: Exchange, pinger: Pinger, left: int) -> str:
    journal = ground.journal
    rows = [
        f"seed {journal.seed}: {sum(journal.sent.values())} messages",
        "sent       " + ", ".join(f"{kind} {count}" for kind, count in sorted(journal.sent.items())),
        "heard      " + ", ".join(f"{kind} {count}" for kind, count in sorted(journal.answers.items())),
        "unanswered " + ", ".join(f"{kind} {count}" for kind, count in journal.unanswered.most_common(12)),
        "records    " + ", ".join(f"{kind} {count}" for kind, count in ground.telegram.records.most_common(16)),
        f"OPTIONS    {pinger.answered} answered, the slowest after {pinger.slowest:.3f} s",
        *(f"memory MB  {sample}" for sample in ground.memory),
        f"calls left {left}, good ones {ground.good.up}",
        f"breaks     {len(journal.breaks)}",
        *(f"           {what[:300]}" for what in journal.breaks[:20]),
    ]
    return "\n".join(rows)


async def main() -> int:
    directory = Path(os.environ.get("TELETRUNK_FUZZ_DIRECTORY") or tempfile.mkdtemp(prefix="teletrunk-fuzz-"))
    directory.mkdir(parents=True, exist_ok=True)
    async with exchange(directory, SEED) as ground:
        pinger = await attack(ground, SECONDS, SEED)
        left = await ground.settle()
        ground.measure()
        print(summary(ground, pinger, left))
        return 1 if ground.journal.breaks else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
