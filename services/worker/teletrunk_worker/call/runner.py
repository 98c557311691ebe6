"""A call's owner task: feeds its machine with events and carries the effects out.

Everything that happens to the call goes through one inbox, so nothing runs beside the machine. Nothing is waited for
here but the inbox: ports take effects, and put events in later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

import structlog
from opentelemetry import trace
from teletrunk.errors import Refusal
from teletrunk.one_way import one_way
from teletrunk.telemetry import of_call
from teletrunk.tracing import call_span
from teletrunk.v1 import manager_pb2

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call import machine
from teletrunk_worker.call.inbox import Inbox, Source, Timers
from teletrunk_worker.call.ports import Media, Ports, Records, Signalling, SipLeg
from teletrunk_worker.call.record import Recorder, count, direction_of
from teletrunk_worker.call.state import Phase, Side, Stage, State
from teletrunk_worker.call.transfer import may_begin

log = structlog.get_logger()

_TAKE_S = 5.0  # the Storage answers without asking anybody
_SHOWN = (
    "call_id", "account_id", "trunk_id", "direction", "caller", "called", "invited_at", "answered_at"
)  # fmt: skip
_MOST_TRANSFERS = 20  # of one call: a PBX may ask in circles
_MOST_TOLD = 100  # requests within dialogs that are written down
_MOST_EARLY = 200  # signalling messages that come before the sound is opened


class CallRunner:
    """One call, from its first event to its record."""

    def __init__(self, call_id: str, state: State, ports: Ports, records: Records, recorder: Recorder) -> None:
        self.call_id = call_id
        self.line: manager_pb2.Line | None = None  # of the account's plan, held until the record is written
        self.meant: frozenset[str] = frozenset()  # trunks that a call from Telegram is offered to
        self.tiers: Callable[[], tuple[tuple[on.Target, ...], ...]] = lambda: ()  # where these are now
        self.recorder = recorder
        # SIP to Telegram: the port at which a host waits for the INVITE, or the `Refusal`.
        self.placed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._state = state
        self._ports = ports
        self._records = records
        self._inbox = Inbox()
        self._timers = Timers(self._inbox)
        self._legs: dict[str, tuple[SipLeg, Source]] = {}
        self._signalling: tuple[Signalling, Source] | None = None
        self._media: tuple[Media, Source] | None = None
        self._shown: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
        self._early_signals: list[bytes] = []
        self._transfers = 0
        self._told = 0
        self._reported = False
        self._log = log.bind(call_id=call_id)

    def put(self, event: on.Event) -> None:
        self._inbox.put(event)

    # What the edge sees.

    def told(self, leg: str, text: str, answer: str = "") -> None:
        """What a leg's PBX has asked for within its dialog; so often, for it may ask without end."""
        self._told += 1
        if self._told > _MOST_TOLD:
            return
        name = "" if leg == machine.CALLER_LEG else leg
        self.recorder.step("pbx", "worker", text, leg=name)
        if answer:
            self.recorder.step("worker", "pbx", answer, leg=name)

    def heard(self, leg: str) -> None:
        if found := self._legs.get(leg):
            found[0].heard()

    def refused_on_the_way(self, leg: str, status: int, phrase: str) -> None:
        if found := self._legs.get(leg):
            found[0].refused(status, phrase)

    @property
    def live(self) -> manager_pb2.LiveCall:
        """As those who look after calls see it."""
        record = self.recorder.record
        return manager_pb2.LiveCall(**{name: getattr(record, name) for name in _SHOWN})

    @property
    def from_sip(self) -> bool:
        return self._state.from_sip

    def new_leg(self) -> str:
        """A name that no leg of the call has had."""
        self._transfers += 1
        return f"x{self._transfers}"

    def transfer(self, leg: str, target: on.Target, subscription: str) -> bool:
        """Whether it will be tried; told of to the leg by NOTIFY if there is a subscription."""
        if not may_begin(self._state, leg) or self._transfers > _MOST_TRANSFERS:
            return False
        self.put(on.TransferAsked(leg, target, subscription))
        return True

    def waits_for(self, trunk_id: str) -> bool:
        """Whether the trunk may have its turn yet."""
        return trunk_id in self.meant and bool(self._state.tiers)

    def withdraw(self, trunk_id: str) -> None:
        """The trunk is not to be rung, and not to be rung any longer."""
        if self._state.phase in (Phase.DIALLING, Phase.RINGING):
            theirs = [leg for leg in self._state.legs if leg.trunk_id == trunk_id and leg.stage is not Stage.ENDING]
            rung = {leg.name for leg in theirs}
            for login in sorted({leg.login for leg in self.recorder.record.sip_legs if leg.name in rung}):
                self.recorder.step("manager", "worker", f"{login} rings no more: it is removed or switched off")
        self.put(on.Withdrawn(trunk_id))

    def shown_to(self, leg: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
        """The From and the headers that the leg was called with; None of the caller's own."""
        return self._shown.get(leg)

    # Before it runs.

    async def take(self, phone_call_id: int) -> bool:
        """Telegram to SIP: whether the Storage gives us the call. If not, nothing is left of it."""
        source = self._inbox.source()
        signalling = self._ports.take_call(phone_call_id, source.put)
        self._signalling = signalling, source
        taken = False
        try:
            async with asyncio.timeout(_TAKE_S):
                taken = await signalling.taken
        except TimeoutError:
            self._log.warning("the Storage does not say whose the call is", **of_call(self.recorder.record))
        finally:
            if not taken:
                self._release_everything()
        return taken

    # The owner.

    async def run(self) -> None:
        """Until the machine says Finish. Cancelling it hangs the call up."""
        with call_span("call", self.call_id) as span:
            try:
                while self._state.phase is not Phase.ENDED:
                    self._happen(await self._inbox.get())
            except asyncio.CancelledError:
                self._cut_short(Refusal("worker-restarting"))
                raise
            except Exception:  # our own mistake: the call ends, and its record says by whom
                self._log.exception("call failed")
                self._cut_short(Refusal("telegram-error", "gateway failed"))
            finally:
                self._release_everything()
                span.set_attribute("call.ended_by", self._state.ended_by or "gateway")
                span.set_attribute("call.refusal", self._state.refusal.row.id if self._state.refusal else "")

    def _happen(self, event: on.Event) -> None:
        match event:
            case on.SignalForMedia(data):
                self._signal_media(data)
            case on.KeysWanted(digits):
                if self._state.phase is Phase.UP and (found := self._legs.get(self._state.talking)):
                    found[0].press(digits)
            case on.SignalForTelegram(data):
                if self._signalling is not None:
                    self._signalling[0].signal(data)
            case _:
                self._step(event)

    def _step(self, event: on.Event) -> None:
        for effect in self._advance(event):
            self._carry_out(effect)
        self._release_what_is_over()

    def _advance(self, event: on.Event) -> list[do.Effect]:
        """The machine's next state; what it wants done is returned."""
        before = self._state.phase
        self._state, effects = machine.step(self._state, event)
        self._log.debug(_in_words(event), phase=self._state.phase.value)
        if isinstance(event, on.Placed) and not self.placed.done():
            self.placed.set_result(event.port)
        if before is not self._state.phase:
            self._note_phase()
        return effects

    def say_begun(self) -> None:
        """To the log: whose call it is, as far as it is known, and by what its PBX knows it."""
        record = self.recorder.record
        told = {"direction": direction_of(record), "caller": record.caller, "called": record.called} | of_call(record)
        for leg in record.sip_legs:  # the caller's: no other has begun
            told |= {"sip_call_id": leg.sip_call_id, "peer": leg.peer}
        self._log.info("call begins", **told)

    def _cut_short(self, refusal: Refusal) -> None:
        """Tells everything to end and waits for nothing: the edge speaks for hosts, the Storage for us."""
        try:
            for event in (on.HangUp(refusal), on.Expired("ending")):
                if self._state.phase is not Phase.ENDED:
                    for effect in self._advance(event):
                        self._try(effect)
        except Exception:  # of the machine: what is open is released all the same
            self._log.exception("call could not be ended in order")
        if not self._reported:
            self._state = replace(self._state, phase=Phase.ENDED, ended_by="gateway", refusal=refusal)
            self._finish()

    def _try(self, effect: do.Effect) -> None:
        try:
            self._carry_out(effect)
        except Exception:  # of one; the others are to be told all the same
            self._log.exception("a part of the call could not be ended in order")

    def _carry_out(self, effect: do.Effect) -> None:
        match effect:
            case do.AwaitInvite():
                source = self._inbox.source()
                self._legs[machine.CALLER_LEG] = self._ports.await_invite(source.put), source
            case do.DialSip(target):
                source = self._inbox.source()
                self._legs[target.leg] = self._ports.dial(target, source.put), source
                self._shown[target.leg] = target.caller, target.headers
            case do.RingSip():
                self._legs[machine.CALLER_LEG][0].ring()
            case do.AnswerSip():
                self._legs[machine.CALLER_LEG][0].answer()
            case do.EndSip(leg):
                self._end_leg(leg, effect)
            case do.SpeakForSip(leg, refusal):
                if found := self._legs.get(leg):
                    found[0].speak(refusal)
            case do.ConnectSip(leg):
                self._legs[leg][0].connect()
            case do.DetachSip(leg):
                self._legs[leg][0].detach()
            case do.NotifyTransfer(leg):
                self._legs[leg][0].notify(effect)
            case do.OpenMedia(terms):
                self._open_media(terms)
            case do.CloseMedia():
                if self._media is not None:
                    self._media[0].close()
            case do.StartTimer(timer, seconds):
                self._timers.start(timer, seconds)
            case do.StopTimer(timer):
                self._timers.stop(timer)
            case do.TellCaller(refusal):
                self._ports.tell_caller(refusal)
            case do.Finish():
                self._finish()
            case _:
                self._tell_telegram(effect)

    def _tell_telegram(self, effect: do.Effect) -> None:
        match effect:
            case do.StartTelegram():
                self._release_signalling()  # of a first try
                source = self._inbox.source()
                self._signalling = self._ports.start_call(source.put), source
            case do.AcceptTelegram():
                self._legs[self._state.winner][0].connect()
                if self._signalling is not None:
                    self._signalling[0].accept()
            case do.DiscardTelegram(reason):
                if self._signalling is not None:
                    self._signalling[0].discard(reason)

    def _end_leg(self, name: str, end: do.EndSip) -> None:
        if found := self._legs.get(name):
            found[0].end(end)
        else:  # no host was looked for yet
            self._inbox.put(on.SipEnded(name, 0))

    def _open_media(self, terms: object) -> None:
        source = self._inbox.source()
        media = self._ports.open_media(terms, source.put)
        self._media = media, source
        early, self._early_signals = self._early_signals, []
        for data in early:
            media.signal(data)

    def _signal_media(self, data: bytes) -> None:
        if self._media is not None:
            self._media[0].signal(data)
        elif len(self._early_signals) < _MOST_EARLY:
            self._early_signals.append(data)

    def _note_phase(self) -> None:
        if self._state.phase is Phase.RINGING:
            self.recorder.ringing()
            self._log.info("call rings", **of_call(self.recorder.record))
            trace.get_current_span().add_event("ringing")
        elif self._state.phase is Phase.UP:
            self.recorder.answered()
            self._log.info("call answered", **of_call(self.recorder.record))
            leg, _ = self._legs[machine.CALLER_LEG if self._state.from_sip else self._state.winner]
            self.recorder.media({"dtmf_offered": leg.offers_digits()})
            trace.get_current_span().add_event("answered")
            self._records.note(self.recorder.record)
        elif self._state.phase in (Phase.ENDING, Phase.ENDED):
            self.recorder.ends()

    # The end.

    def _finish(self) -> None:
        self._timers.stop_all()
        if self._reported:
            return
        self._reported = True
        refusal = self._state.refusal
        turned_away = not self.placed.done() and self._state.from_sip
        if turned_away:
            answer = refusal or Refusal("telegram-error", "the call has ended")
            self.recorder.step("worker", "pbx", f"{answer.row.sip_status} {answer.phrase}")
            self.placed.set_exception(answer)
            self.placed.exception()  # nobody may ask: a caller that has gone does not
        record = self.recorder.finish(self._state)
        self._records.report(record)
        count(record, refusal_counted=turned_away)
        self._log.info(
            "call ended", **of_call(record), by=record.ended_by, row=record.error_id, sip_status=record.sip_status,
            talked_s=self.recorder.talk_seconds,
        )  # fmt: skip
        if why := one_way(record):
            self._log.warning("one-way audio", **of_call(record), why=why)

    def _release_what_is_over(self) -> None:
        """Ports whose side the machine counts as closed: they have nothing to say any more."""
        for name in [name for name in self._legs if self._state.leg(name) is None]:
            _release(*self._legs.pop(name))
            self._shown.pop(name, None)
        if self._state.telegram is Side.CLOSED:
            self._release_signalling()
        if self._media is not None and self._state.media is Side.CLOSED:
            _release(*self._media)
            self._media = None

    def _release_signalling(self) -> None:
        if self._signalling is not None:
            _release(*self._signalling)
        self._signalling, self._early_signals = None, []

    def _release_everything(self) -> None:
        self._timers.stop_all()
        kept = [*self._legs.values(), self._signalling, self._media]
        self._legs, self._signalling, self._media = {}, None, None
        for port in kept:
            if port is not None:
                try:
                    _release(*port)
                except Exception:  # of one; the others are to be released all the same
                    self._log.exception("a port of the call could not be released")
        self._ports.release()


def _in_words(event: on.Event) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(event).__name__).lower()


def _release(port: SipLeg | Signalling | Media, source: Source) -> None:
    source.close()
    port.release()
