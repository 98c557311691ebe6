"""A call on its real ports, over hosts, an edge and a Storage that do as they like, and that keep books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_worker.call import events as on
from teletrunk_worker.call import machine
from teletrunk_worker.call.machine import CALLER_LEG
from teletrunk_worker.call.record import Recorder
from teletrunk_worker.call.runner import CallRunner
from teletrunk_worker.call.surroundings import Surroundings
from teletrunk_worker.call.worker_ports import WorkerPorts
from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.supervisor import DIED
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.sip.sound import SoundTerms

from tests.simulated_time import SimulatedLoop

from .tape import Said, Tape

FULL = Refusal("worker-full")
ENDED = {"event": "ended", "status": 487, "phrase": "Request Terminated", "by_us": True, "stats": {}}
_INCOMING, ANSWERED = {"event": "incoming"}, {"event": "answered", "codec": "PCMA/8000"}
BUSY = {**ENDED, "status": 486, "phrase": "Busy Here", "by_us": False}
_ANSWERS = ("progress", "answered", "ended")
_RINGS = {"event": "progress", "status": 180}
REFUSED, UNDIALLED = {"event": "refused", "why": "too many"}, {"event": "undialled", "why": "bad"}
_TROUBLE, _SILENT, _DEAD = {"event": "trouble", "text": "x"}, {"event": "silent"}, {"event": DIED}
CLOSED, _CONNECTED = {"event": "closed", "stats": {}}, {"event": "connected", "connect_ms": 40.0}
_FAILED, _SIGNAL = {"event": "failed", "why": "x"}, {"event": "signalling", "data": "c2lnbg=="}

FIRST_WORD_S = 4.0  # what the link to a Storage waits for


_OF_SIP = [_INCOMING, ANSWERED, _RINGS, BUSY, REFUSED, UNDIALLED, _TROUBLE, _SILENT, _DEAD, ENDED]
_OF_SOUND = [_CONNECTED, _FAILED, _SIGNAL, CLOSED, _DEAD]


def responses(*kinds: str) -> list[pb.CallResponse]:
    made = {
        "step": pb.CallResponse(step=call_pb2.CallStep(text="taken")),
        "requested": pb.CallResponse(requested=pb.CallRequested(phone_call_id=1)),
        "ringing": pb.CallResponse(ringing=pb.CallRinging()),
        "ready": pb.CallResponse(ready=pb.CallReady(key=b"k" * 256)),
        "signalling": pb.CallResponse(signalling=pb.SignallingData(data=b"s")),
        "busy": pb.CallResponse(discarded=pb.CallDiscarded(reason=pb.DISCARD_REASON_BUSY)),
        "hangup": pb.CallResponse(discarded=pb.CallDiscarded(reason=pb.DISCARD_REASON_HANGUP)),
    }
    return [made[kind] for kind in kinds]


_OF_STORAGE = [*responses("step", "requested", "ringing", "ready", "signalling", "busy", "hangup"), FULL, None]
_USUAL: dict[str, tuple[list[list[Any]], list[Any]]] = {
    "placed": ([[_INCOMING], [_INCOMING, ENDED]], _OF_SIP),
    "dial": ([[_RINGS, ANSWERED], [ANSWERED], [BUSY], [REFUSED], [UNDIALLED]], _OF_SIP),
    "answer": ([[ANSWERED], [_TROUBLE]], _OF_SIP),
    "hangup": ([[ENDED], [ANSWERED, ENDED], [_DEAD]], _OF_SIP),
    "open": ([[_SIGNAL, _CONNECTED], [_CONNECTED], [_FAILED, CLOSED]], _OF_SOUND),
    "close": ([[CLOSED], [_DEAD]], _OF_SOUND),
    "start": (
        [
            responses("step", "requested", "ringing", "ready"), responses("requested", "ready", "signalling"),
            responses("requested"), [FULL], [*responses("requested"), FULL], responses("requested", "busy"),
        ],
        _OF_STORAGE,
    ),
    "take": ([responses("step", "requested"), [FULL], responses("requested", "busy")], _OF_STORAGE),
    "accept": ([responses("ready"), [FULL], [None]], _OF_STORAGE),
    "discard": ([responses("hangup"), [None]], _OF_STORAGE),
    "place sip": ([["ok"], ["full"]], ["ok", "full"]),
    "place telegram": ([["ok"], ["full"]], ["ok", "full"]),
}  # fmt: skip


class Script:
    """What was written down to be said; for the rest, a tape."""

    def __init__(self, written: dict[str, list[Any]], tape: Tape) -> None:
        self._written = {what: list(said) for what, said in written.items()}
        self.tape = tape

    def next(self, what: str) -> Said[Any]:
        if said := self._written.get(what):
            return list(said.pop(0))
        return self.tape.saying(*_USUAL[what]) if what in _USUAL else []


@dataclass(eq=False)
class BareHost:
    """A host as far as a call sees it."""

    hosts: BareHosts
    port: int = 5060
    rate: int = 8000
    listeners: dict[str, Callable[[Message], None]] = field(default_factory=dict)
    carries: set[str] = field(default_factory=set)  # what it would go on with if nobody told it to end
    told: set[str] = field(default_factory=set)  # to end it
    dead: bool = False

    def send(self, message: Message, descriptor: int | None = None) -> None:
        if self.dead:
            return
        self.hosts.sent.append(message)
        if message["command"] in ("dial", "open"):
            self.carries.add(message["call"])
        elif message["command"] in ("hangup", "close"):
            self.carries.discard(message["call"])
            self.told.add(message["call"])
        self.say(message["call"], self.hosts.script.next(message["command"]))

    def say(self, call: str, said: Said[Message]) -> None:
        after = 0.0
        for delay, message in said:
            after += delay
            asyncio.get_running_loop().call_later(after, self._say, call, {**message, "call": call})

    def _say(self, call: str, message: Message) -> None:
        if self.dead:
            return
        if message["event"] == DIED:
            self.dead = True
            for each in list(self.listeners.values()):
                each(message)
        elif listener := self.listeners.get(call):
            if message["event"] == "incoming" and call not in self.told:
                self.carries.add(call)
            elif message["event"] in ("ended", "refused", "undialled", "closed"):
                self.carries.discard(call)
            if message["event"] in _ANSWERS and not message.get("by_us") and not message.get("unheard"):
                self.hosts.edge_hears(call.partition("/")[2])  # the answer has come through the edge
            listener(message)


class BareHosts:
    """A pool that gives a place, gives none, or never answers."""

    def __init__(self, kind: str, script: Script) -> None:
        self._kind = kind
        self.script = script
        self.all: list[BareHost] = []
        self.sent: list[Message] = []  # to any of them
        self.edge_hears: Callable[[str], None] = lambda leg: None

    def expect(self) -> None:
        """They are there."""

    async def place(
        self, call: str, listener: Callable[[Message], None], besides: Sequence[BareHost] = (), *, wide: bool = False
    ) -> BareHost:
        for delay, outcome in self.script.next(f"place {self._kind}")[:1]:
            await asyncio.sleep(delay)
            if outcome == "full":
                raise FULL
            host = BareHost(self)
            host.listeners[call] = listener
            self.all.append(host)
            if call.endswith(f"/{CALLER_LEG}"):
                host.say(call, self.script.next("placed"))
            return host
        await asyncio.Event().wait()
        raise AssertionError

    @property
    def room(self) -> int:
        return 4

    def release(self, host: BareHost, call: str) -> None:
        assert call in host.listeners, "released twice"
        del host.listeners[call]


class BareEdge:
    def __init__(self) -> None:
        self.over: set[str] = set()
        self.spoken: set[str] = set()

    def speak_for_dead_host(self, call_id: str, leg: str, refusal: Refusal) -> None:
        self.spoken.add(f"{call_id}/{leg}")

    def leg_is_over(self, call_id: str, leg: str, *, elsewhere: bool = False) -> None:
        self.over.add(f"{call_id}/{leg}")

    def peer_address(self, call_id: str, leg: str) -> str:
        return "127.0.0.1"

    def offered_telephone_event(self, call_id: str, leg: str) -> bool:
        return False

    def cause_of(self, call_id: str, leg: str) -> int:
        return 0

    def refused_answer(self, call_id: str, leg: str) -> Refusal | None:
        return None

    def sound_of(self, trunk_id: str) -> SoundTerms:
        return SoundTerms()

    def objection_to(self, uri: str) -> Refusal | None:
        return None


class BareStream:
    """A phone call's stream, which says what it likes to what it is asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._said: asyncio.Queue[pb.CallResponse | Refusal | None] = asyncio.Queue()
        self.closed = False

    def ask(self, **kind: object) -> None:
        assert not self.closed, f"{kind} asked of a closed stream"
        after = 0.0
        for delay, response in self._script.next(next(iter(kind))):
            after += delay
            asyncio.get_running_loop().call_later(after, self._said.put_nowait, response)

    def close(self) -> None:
        self.closed = True

    async def events(self) -> AsyncIterator[pb.CallResponse]:
        patience: float | None = FIRST_WORD_S
        while True:
            try:
                async with asyncio.timeout(patience):
                    response = await self._said.get()
            except TimeoutError:
                raise Refusal("storage-unreachable") from None
            patience = None
            if response is None:
                return
            if isinstance(response, Refusal):
                raise response
            yield response


class HostsWorld:
    """One call in the midst of all that; also the Storages and the records."""

    def __init__(self, tape: bytes = b"", **written: list[Any]) -> None:
        """By default everything goes well; `written` is what is said instead, the first time, the second time..."""
        self._script = Script({what.replace("_", " "): said for what, said in written.items()}, Tape(tape))
        self.sip, self.telegram = BareHosts("sip", self._script), BareHosts("telegram", self._script)
        self.edge = BareEdge()
        self.sessions: dict[str, manager_pb2.SessionAssignment] = {}
        self.streams: list[BareStream] = []
        self.reported: list[call_pb2.CallRecord] = []
        self.chat: list[str] = []
        self.lasted_s = 0.0
        self.tasks = BackgroundTasks()

    def call(self, session: manager_pb2.SessionAssignment) -> BareStream:
        self.streams.append(BareStream(self._script))
        return self.streams[-1]

    async def send_message(self, session_id: str, user_id: int, text: str) -> None:
        await asyncio.sleep(1.0)
        self.chat.append(text)

    def note(self, record: call_pb2.CallRecord) -> None: ...

    def report(self, record: call_pb2.CallRecord) -> None:
        self.reported.append(record)

    async def live(self, *, from_sip: bool, refused_on_the_way: int, hang_up_after: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        recorder = Recorder("c", "w", from_sip=from_sip, clock=loop.time)
        around = Surroundings(self.sip, self.telegram, self.edge, self, self.tasks)
        rings = RingPair.create()
        ports = WorkerPorts(around, recorder, rings, manager_pb2.SessionAssignment(session_id="s"), called="+1")
        state = machine.from_sip() if from_sip else machine.from_telegram()
        runner = CallRunner("c", state, ports, self, recorder)
        self.sip.edge_hears = runner.heard
        if from_sip:
            runner.put(on.Admitted())
        elif await runner.take(1):
            runner.put(on.Taken())
            runner.put(
                on.Routed(
                    ((on.Target("x", "t", "sip:x"), on.Target("y", "t", "sip:y")), (on.Target("z", "t", "sip:z"),))
                )
            )
        else:
            await self._check(None)
            return
        if refused_on_the_way:
            loop.call_later(1.0, runner.refused_on_the_way, CALLER_LEG, refused_on_the_way, "x")
        loop.call_later(hang_up_after, runner.put, on.HangUp(FULL))
        await runner.run()
        self.lasted_s = loop.time()
        await self._check(recorder)

    async def _check(self, recorder: Recorder | None) -> None:
        await self.tasks.ended(5.0)
        assert not len(self.tasks), "a task outlives its call"
        assert len(self.reported) == (recorder is not None)
        assert all(stream.closed for stream in self.streams)
        for host in (*self.sip.all, *self.telegram.all):
            assert not host.listeners or host.dead, "a place is kept"
            assert not host.carries or host.dead, "a host was not told that its call is over"
        legs = {leg for host in self.sip.all for leg in host.listeners if host.dead}
        assert legs <= self.edge.spoken, "nobody spoke for a dead host"
