"""A call's runner among ports that refuse, stall, answer late, twice, or never, and that keep books of what is open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2
from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call import machine
from teletrunk_worker.call.inbox import Put
from teletrunk_worker.call.machine import CALLER_LEG
from teletrunk_worker.call.record import Recorder
from teletrunk_worker.call.runner import CallRunner

from tests.simulated_time import SimulatedLoop
from tests.unit.call_events import REFUSAL, TARGETS

from .tape import Said, Tape

OPERATOR_S = 3_600.0  # a call that is up then is ended by somebody
LONGEST_S = 310.0  # until a call is up or over: the phases' timers, with one redial
_LEG = "?"  # stands for the leg that speaks
_ENDED = on.SipEnded(_LEG, 487)
_PLACED, _RINGS, _ANSWERED, _DEAD = on.Placed(_LEG), on.SipRinging(_LEG), on.SipAnswered(_LEG), on.HostDied("sip", _LEG)
_NO_PLACE, _LOST = on.NotPlaced(_LEG, REFUSAL), on.TelegramLost(REFUSAL)
_ALL_OF_LEG = [
    _PLACED, on.Begun(), on.SipHeard(_LEG), _RINGS, _ANSWERED, _ENDED, on.SipEnded(_LEG, 486), on.SipEnded(_LEG, 408),
    on.SipEnded(_LEG, 0), _NO_PLACE, _DEAD, on.HangUp(REFUSAL),
]  # fmt: skip
_ALL_OF_TELEGRAM = [
    on.NotStarted(REFUSAL), on.TelegramRinging(), on.TelegramReady(), _LOST, on.SignalForMedia(b"s"),
    *(on.TelegramEnded(reason) for reason in ("missed", "busy", "hangup", "disconnect")),
]  # fmt: skip
_FAILED, _CLOSED, _SOUND_DEAD = on.MediaFailed("x"), on.MediaClosed(), on.HostDied("telegram")
_ALL_OF_SOUND = [
    on.NoMedia(REFUSAL), on.MediaConnected(), _FAILED, _CLOSED, _SOUND_DEAD, on.SignalForTelegram(b"s"),
]  # fmt: skip
# What a port says when it is asked for something, the usual first; and all that it could say.
_USUAL: dict[str, tuple[list[list[Any]], list[Any]]] = {
    "await_invite": ([[_PLACED, on.Begun()], [_PLACED], [_NO_PLACE], [_PLACED, on.Begun(), _ENDED]], _ALL_OF_LEG),
    "dial": (
        [
            [_PLACED, _RINGS, _ANSWERED], [_PLACED, _ANSWERED], [_PLACED], [_PLACED, on.SipHeard(_LEG)], [_NO_PLACE],
            [_PLACED, on.SipEnded(_LEG, 486)], [_PLACED, _DEAD],
        ],
        _ALL_OF_LEG,
    ),
    "answer": ([[], [_ANSWERED], [on.SipEnded(_LEG, 200)]], _ALL_OF_LEG),
    "detach": ([[on.SipDetached(_LEG)], [_ENDED], [_DEAD], []], [*_ALL_OF_LEG, on.SipDetached(_LEG)]),
    "end": ([[_ENDED], [_ANSWERED, _ENDED], [_DEAD]], _ALL_OF_LEG),
    "start": (
        [
            [on.TelegramRinging(), on.TelegramReady()], [on.TelegramReady()], [on.NotStarted(REFUSAL)],
            [on.TelegramRinging(), on.TelegramEnded("busy")], [on.TelegramRinging()],
        ],
        _ALL_OF_TELEGRAM,
    ),
    "take": ([[], [on.TelegramEnded("missed")], [on.TelegramEnded("hangup")]], _ALL_OF_TELEGRAM),
    "accept": ([[on.TelegramReady()], [_LOST]], _ALL_OF_TELEGRAM),
    "discard": ([[on.TelegramEnded("hangup")], [_LOST]], _ALL_OF_TELEGRAM),
    "open": (
        [
            [on.MediaConnected()], [_FAILED], [_FAILED, _CLOSED], [on.NoMedia(REFUSAL)],
            [on.MediaConnected(), _FAILED, _CLOSED],
        ],
        _ALL_OF_SOUND,
    ),
    "close": ([[_CLOSED], [_SOUND_DEAD], [on.MediaConnected(), _CLOSED]], _ALL_OF_SOUND),
}  # fmt: skip
_ROUTED = on.Routed((TARGETS[:2], TARGETS[2:]))
# What comes from the Manager, from the edge for an admission that was cancelled, and from an operator.
_FROM_OUTSIDE: list[on.Event] = [
    _ROUTED,
    on.Routed(()),
    on.Rebound((TARGETS[:2], TARGETS[2:])),
    on.Rebound(((), ())),
    on.Refused(REFUSAL),
    on.SipEnded(CALLER_LEG, 487),
    on.HangUp(REFUSAL),
    on.KeysWanted("1,2"),
]
_TALKING = [CALLER_LEG, *(target.leg for target in TARGETS), "t0", "t1"]


class Port:
    """Says what its script has for what it is asked, while it is not released; then what nobody may hear."""

    too_late: Sequence[on.Event] = ()

    def __init__(self, world: CallWorld, put: Put, leg: str = "") -> None:
        self.world = world
        self.said: list[on.Event] = []
        self.told = False  # to end
        self.released = False
        self._put = put
        self.name = leg
        self._timers: list[asyncio.TimerHandle] = []

    def asked(self, what: str) -> None:
        assert not self.released, f"{what} asked of what was released"
        after = 0.0
        for delay, event in self.world.next_saying(what):
            after += delay
            if getattr(event, "leg", None) == _LEG:
                event = type(event)(**{**vars(event), "leg": self.name})
            self._timers.append(asyncio.get_running_loop().call_later(after, self._say, event))

    def _say(self, event: on.Event) -> None:
        self.said.append(event)
        self._put(event)

    def has_said(self, *kinds: type) -> bool:
        return any(isinstance(event, kinds) for event in self.said)

    def release(self) -> None:
        assert not self.released, "released twice"
        self.released = True
        for timer in self._timers:
            timer.cancel()
        for event in self.too_late:
            self._put(event)


class Leg(Port):
    spoken = False  # the edge has ended its dialog
    connected = False  # has the call's sound

    def ring(self) -> None:
        self.asked("ring")

    def answer(self) -> None:
        media = self.world.media[-1]
        assert media.has_said(on.MediaConnected) and not media.told, "200 without media"
        self.asked("answer")

    def connect(self) -> None:
        assert not self.told, "a leg that was told to end has the call"
        others = [
            leg
            for leg in self.world.legs
            if leg.connected and not (leg.is_over or leg.told or leg.spoken or leg.released)
        ]
        assert not others or others == [self], "two legs have the sound"
        self.connected = True
        self.asked("connect")

    def detach(self) -> None:
        assert self.connected
        self.connected = False
        self.asked("detach")

    def press(self, digits: str) -> None:
        assert not self.told

    def notify(self, how: do.NotifyTransfer) -> None:
        assert not self.told, "a leg that was told to end hears of a transfer"

    def end(self, end: do.EndSip) -> None:
        self.told = True
        self.asked("end")

    def speak(self, refusal: Refusal) -> None:
        self.spoken = True

    def heard(self) -> None: ...

    def refused(self, status: int, phrase: str) -> None: ...

    def offers_digits(self) -> bool:
        return True

    @property
    def is_over(self) -> bool:
        return self.has_said(on.SipEnded, on.NotPlaced)


class Telegram(Port):
    too_late = on.TelegramReady(), on.TelegramEnded("busy")

    def __init__(self, world: CallWorld, put: Put) -> None:
        super().__init__(world, put)
        self.taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def accept(self) -> None:
        self.asked("accept")

    def signal(self, data: bytes) -> None:
        assert not self.released

    def discard(self, reason: str) -> None:
        self.told = True
        self.asked("discard")


class Sound(Port):
    too_late = on.MediaConnected(), on.MediaClosed()

    def signal(self, data: bytes) -> None:
        assert not self.released

    def close(self) -> None:
        self.told = True
        self.asked("close")


@dataclass
class CallWorld:
    """One call, its ports and its records."""

    tape: Tape
    kind_of_leg: type[Leg] = Leg
    legs: list[Leg] = field(default_factory=list)
    telegram: list[Telegram] = field(default_factory=list)
    media: list[Sound] = field(default_factory=list)
    told_caller: list[Refusal] = field(default_factory=list)
    noted: int = 0
    reported: list[call_pb2.CallRecord] = field(default_factory=list)
    released: int = 0

    def next_saying(self, what: str) -> Said[on.Event]:
        return self.tape.saying(*_USUAL[what]) if what in _USUAL else []

    # Ports.

    def await_invite(self, put: Put) -> Leg:
        leg = self._leg(CALLER_LEG, "await_invite", put)
        leg.connected = True  # when its INVITE comes
        return leg

    def dial(self, target: on.Target, put: Put) -> Leg:
        return self._leg(target.leg, "dial", put)

    def _leg(self, name: str, what: str, put: Put) -> Leg:
        leg = self.kind_of_leg(self, put, name)
        self.legs.append(leg)
        leg.asked(what)
        return leg

    def start_call(self, put: Put) -> Telegram:
        return self._call("start", put)

    def take_call(self, phone_call_id: int, put: Put) -> Telegram:
        call = self._call("take", put)
        call.taken.set_result(True)
        return call

    def _call(self, what: str, put: Put) -> Telegram:
        assert all(call.released for call in self.telegram), "two calls at Telegram"
        call = Telegram(self, put)
        self.telegram.append(call)
        call.asked(what)
        return call

    def open_media(self, terms: object, put: Put) -> Sound:
        assert all(sound.released for sound in self.media), "two sounds of one call"
        sound = Sound(self, put)
        self.media.append(sound)
        sound.asked("open")
        return sound

    def tell_caller(self, refusal: Refusal) -> None:
        self.told_caller.append(refusal)

    def release(self) -> None:
        self.released += 1

    # Records.

    def note(self, record: call_pb2.CallRecord) -> None:
        assert not self.reported
        self.noted += 1

    def report(self, record: call_pb2.CallRecord) -> None:
        self.reported.append(call_pb2.CallRecord.FromString(record.SerializeToString()))

    # Its life.

    async def live(self, first: on.Event) -> None:
        """`first` is Admitted for a call from a PBX, and Taken for one from Telegram."""
        from_sip = isinstance(first, on.Admitted)
        self.outside: list[tuple[float, on.Event]] = [] if from_sip else [(self.tape.delay(), _ROUTED)]
        for _ in range(self.tape.among([0, 0, 0, 1, 2])):
            self.outside.append((self.tape.delay(), self.tape.among(_FROM_OUTSIDE)))
        for number in range(self.tape.among([0, 0, 1, 2])):
            target = on.Target(f"t{number}", "trunk", "sip:t@x")
            self.outside.append((self.tape.delay(), on.TransferAsked(self.tape.among(_TALKING), target)))
        cancelled_after = self.tape.among([None, None, None, None, self.tape.delay()])
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        recorder = Recorder("c", "w", from_sip=from_sip, clock=loop.time)
        state = machine.from_sip() if from_sip else machine.from_telegram()
        runner = CallRunner("c", state, self, self, recorder)
        if not from_sip:
            assert await runner.take(1)
        runner.put(first)
        events: list[asyncio.TimerHandle] = []
        for after, event in self.outside:
            events.append(loop.call_later(after, runner.put, event))
        events.append(loop.call_later(OPERATOR_S, runner.put, on.HangUp(REFUSAL)))
        running = asyncio.ensure_future(runner.run())
        if cancelled_after is not None:
            events.append(loop.call_later(cancelled_after, running.cancel))
        await asyncio.wait({running})
        for handle in events:
            handle.cancel()
        if not running.cancelled():
            assert running.exception() is None
        self.check(runner, loop)

    def check(self, runner: CallRunner, loop: SimulatedLoop) -> None:
        """The invariants of a call that is over."""
        (record,) = self.reported
        assert record.ended_by in ("pbx", "telegram", "gateway")
        assert not record.error_id or record.ended_by == "gateway", "a failure of ours booked as another's"
        up_s = record.ended_at - record.answered_at if record.answered_at else 0.0
        assert loop.time() - up_s <= LONGEST_S
        assert up_s <= OPERATOR_S, "what is put away behind a call is not talk"
        ports: list[Any] = [*self.legs, *self.telegram, *self.media]
        assert all(port.released for port in ports) and self.released == 1
        by_edge = {event.leg for _, event in self.outside if isinstance(event, on.SipEnded)}  # the caller's CANCEL
        assert {leg.name for leg in self.legs if not (leg.spoken or leg.is_over)} <= by_edge, "a leg that nobody ended"
        if record.ended_by == "telegram":
            assert any(call.has_said(on.TelegramEnded) for call in self.telegram)
        elif record.ended_by == "pbx":
            assert by_edge or any(leg.has_said(on.SipEnded, on.SipHeard, on.SipRinging) for leg in self.legs)
        assert not loop.running_timers, "a timer outlives its call"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        if record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM:
            assert runner.placed.done()
