"""A call's owner task: feeds its machine with events and carries the effects out.

Everything that happens to the call goes through one inbox, so nothing runs beside the machine. The legs, the
Storage's stream and the timers only put events in.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import replace
from typing import Any

import structlog
from opentelemetry import trace
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.tracing import call_span
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call import machine
from teletrunk_worker.call.record import Recorder, count
from teletrunk_worker.call.rim import Rim
from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.supervisor import DIED, Host
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.links.storage import CallStream
from teletrunk_worker.relay.routes import leg_header
from teletrunk_worker.sip.dialog import ELSEWHERE

log = structlog.get_logger()

_REASONS = {
    "missed": pb.DISCARD_REASON_MISSED,
    "busy": pb.DISCARD_REASON_BUSY,
    "hangup": pb.DISCARD_REASON_HANGUP,
    "disconnect": pb.DISCARD_REASON_DISCONNECT,
}
_WORDS = {number: word for word, number in _REASONS.items()}
_BEGIN_DEADLINE_S = 5.0
_REQUEST_TIMEOUT = 408


class CallRunner:
    """One call, from its first event to its record."""

    def __init__(self, rim: Rim, call_id: str, session: manager_pb2.SessionAssignment, *, from_sip: bool) -> None:
        self.call_id = call_id
        self.session = session
        self.called = ""
        self.caller_header = ""
        self.caller_user_id = 0
        self.line: manager_pb2.Line | None = None
        self._longest_seconds = 0
        self.recorder = Recorder(call_id, rim.worker_id, from_sip=from_sip)
        self.inbox: asyncio.Queue[on.Event] = asyncio.Queue()
        self._rim = rim
        self._state = machine.from_sip() if from_sip else machine.from_telegram()
        self._sip: dict[str, Host] = {}
        self._targets: dict[str, on.Target] = {}
        self._elsewhere: set[str] = set()  # legs that lost the call to another
        self._full: dict[str, list[Host]] = {}  # by leg: hosts that had no place for it, whatever they had said
        self._media: Host | None = None
        self._rings = RingPair.create()
        self._stream: CallStream | None = None
        self._ready: pb.CallReady | None = None
        self._heard_from: set[str] = set()  # legs whose peer has said anything
        self._early_signalling: list[str] = []
        self._taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks = BackgroundTasks()
        self._log = log.bind(call_id=call_id)

    def allow(self, route: manager_pb2.RouteCallResponse | manager_pb2.RouteIncomingResponse) -> None:
        """What the account's plan lets the call do."""
        self.line = route.line if route.HasField("line") else None
        self._longest_seconds = route.longest_seconds

    @property
    def phase(self) -> machine.Phase:
        return self._state.phase

    def put(self, event: on.Event) -> None:
        self.inbox.put_nowait(event)

    async def taken(self) -> bool:
        """Telegram to SIP: whether the Storage has given us the call. Another Worker may have been faster."""
        return await self._taken

    def abandon(self) -> None:
        """Instead of `run`: it never was our call."""
        self._let_everything_go()

    async def run(self) -> None:
        """Until the machine says Finish. Cancelling it hangs the call up."""
        with call_span("call", self.call_id) as span:
            await self._run()
            span.set_attribute("call.ended_by", self._state.ended_by or "gateway")
            span.set_attribute("call.refusal", self._state.refusal.row.id if self._state.refusal else "")

    async def _run(self) -> None:
        try:
            while self._state.phase is not machine.Phase.ENDED:
                event = await self.inbox.get()
                before = self._state.phase
                self._state, effects = machine.step(self._state, event)
                self._log.info("event", event_name=type(event).__name__, phase=self._state.phase.value)
                if before is not self._state.phase:
                    self._note_phase()
                for effect in effects:
                    await self._carry_out(effect)
        except Exception:  # our own mistake: the call ends, and its record says by whom
            self._log.exception("call failed")
            self._state = replace(self._state, ended_by="gateway", refusal=Refusal("telegram-error", "gateway failed"))
            self._finish()
        finally:
            self._let_everything_go()

    def _finish(self) -> None:
        record = self.recorder.finish(self._state)
        self._rim.manager.report(record)
        count(record)
        self._log.info("call ended", by=self._state.ended_by, sip_status=self.recorder.record.sip_status)

    def _note_phase(self) -> None:
        if self._state.phase is machine.Phase.RINGING:
            self.recorder.ringing()
            trace.get_current_span().add_event("ringing")
        elif self._state.phase is machine.Phase.UP:
            self.recorder.answered()
            leg = machine.CALLER_LEG if self._state.from_sip else self._state.winner
            self.recorder.media({"dtmf_offered": self._rim.edge.offered_telephone_event(self.call_id, leg)})
            trace.get_current_span().add_event("answered")
            self._rim.manager.note(self.recorder.record)
            if self._longest_seconds:
                over = on.HangUp(Refusal("subscription-limit", "total duration exceeded"))
                self._timers["plan"] = asyncio.get_running_loop().call_later(self._longest_seconds, self.put, over)

    async def _carry_out(self, effect: do.Effect) -> None:
        match effect:
            case do.StartTelegram():
                self.open_stream(
                    start=pb.StartCall(session_id=self.session.session_id, call_id=self.call_id, called=self.called)
                )
            case do.AcceptTelegram():
                self._attach(self._state.winner)
                self._ask(accept=pb.AcceptCall())
            case do.DiscardTelegram(reason):
                self._discard(reason)
            case do.OpenMedia():
                await self._open_media()
            case do.CloseMedia():
                self._close_media()
            case do.RingSip():
                self._command(machine.CALLER_LEG, "ring")
                self.recorder.step("worker", "pbx", "180 Ringing")
            case do.AnswerSip():
                self._command(machine.CALLER_LEG, "answer")
                self.recorder.step("worker", "pbx", "200 OK")
            case do.DialSip(target):
                await self._dial(target)
            case do.EndSip():
                self._end_sip(effect)
            case do.SpeakForSip(leg, refusal):
                self._rim.edge.speak_for_dead_host(self.call_id, leg, refusal)
            case do.TellCaller(refusal):
                self._spawn(self._tell_caller(refusal))
            case do.StartTimer(timer, seconds):
                self._start_timer(timer, seconds)
            case do.StopTimer(timer):
                self._stop_timer(timer)
            case do.Finish():
                self._finish()

    def _spawn(self, work: Any) -> None:
        self._tasks.run(work)

    def _start_timer(self, timer: str, seconds: float) -> None:
        self._stop_timer(timer)
        self._timers[timer] = asyncio.get_running_loop().call_later(seconds, self.put, on.Expired(timer))

    def _stop_timer(self, timer: str) -> None:
        if handle := self._timers.pop(timer, None):
            handle.cancel()

    # SIP legs.

    def wait_for_host(self, host: Host) -> None:
        """SIP to Telegram: `host` will get the INVITE. If it does not, the call ends."""
        self._sip[machine.CALLER_LEG] = host
        self._timers["begin"] = asyncio.get_running_loop().call_later(
            _BEGIN_DEADLINE_S, self.put, on.HostDied("sip", machine.CALLER_LEG)
        )

    def on_sip(self, leg: str, message: Message) -> None:
        """What a SIP host says of one of the legs."""
        match message["event"]:
            case "incoming":
                self._stop_timer("begin")
                self._attach(leg)
                self.put(on.Begun())
            case "progress" if message["status"] >= 180:
                self.heard(leg)
                self.recorder.step("pbx", "worker", f"{message['status']} Ringing")
                self.put(on.SipRinging(leg))
            case "answered":
                self.recorder.media({"codec": message["codec"]})
                if self._state.winner in ("", leg) and leg != machine.CALLER_LEG:
                    self.recorder.step("pbx", "worker", "200 OK")
                self.put(on.SipAnswered(leg))
            case "ended":
                if not message["by_us"]:
                    up = self._state.phase in (machine.Phase.UP, machine.Phase.MEDIA)
                    self.recorder.step("pbx", "worker", "BYE" if up else f"{message['status']} {message['phrase']}")
                self.recorder.media(message["stats"])
                self._let_leg_go(leg)
                # The host's own timeout, not an answer: nobody is there.
                silent = message["status"] == _REQUEST_TIMEOUT and leg not in self._heard_from
                self.put(on.SipEnded(leg, 0 if silent else message["status"], message["phrase"]))
            case "refused":
                self._log.warning("sip host has no place", why=message["why"])
                self._full.setdefault(leg, []).append(self._sip[leg])
                self._release_sip(leg)
                self._spawn(self._dial(self._targets[leg]))
            case "silent":
                self.put(on.HangUp(Refusal("pbx-unreachable", "no sound from it for a minute")))
            case "trouble":
                self._log.warning("sip host", text=message["text"])
            case _ if message["event"] == DIED:
                self._stop_timer(f"silent-{leg}")
                self._sip.pop(leg, None)
                self.put(on.HostDied("sip", leg))

    def heard(self, leg: str) -> None:
        """The leg's peer has said something: it is there."""
        self._heard_from.add(leg)

    def _give_up_silent(self, leg: str) -> None:
        """A PBX whose port is closed, or that is gone: nobody shall wait half a minute for SIP's own timeout."""
        if leg in self._sip and leg not in self._heard_from:
            self.recorder.step("worker", "pbx", "no answer at all")
            self._command(leg, "hangup", status=0, phrase="", headers=[])
            self._rim.edge.leg_is_over(self.call_id, leg)
            self.put(on.SipEnded(leg, 0, "no answer"))

    def refused_on_the_way(self, leg: str, status: int, phrase: str) -> None:
        """The edge saw the final answer of a host that knows nothing of the call: 488 at first sight, 486 when full."""
        if "begin" in self._timers and leg in self._sip:
            self._stop_timer("begin")
            self._let_leg_go(leg)
            self.put(on.SipEnded(leg, status, phrase))

    def _let_leg_go(self, leg: str) -> None:
        """The leg is over: its host, and the edge's dialog, have nothing to do any more."""
        self._release_sip(leg)
        self._rim.edge.leg_is_over(self.call_id, leg, elsewhere=leg in self._elsewhere)

    def _release_sip(self, leg: str) -> None:
        self._stop_timer(f"silent-{leg}")
        if host := self._sip.pop(leg, None):
            self._rim.sip_hosts.release(host, leg_header(self.call_id, leg))

    def _command(self, leg: str, command: str, **fields: Any) -> None:
        if host := self._sip.get(leg):
            host.send({"command": command, "call": leg_header(self.call_id, leg), **fields})

    def _attach(self, leg: str) -> None:
        if host := self._sip.get(leg):
            host.send({"command": "attach", "call": leg_header(self.call_id, leg)}, self._rings.descriptor)

    async def _dial(self, target: on.Target) -> None:
        name = leg_header(self.call_id, target.leg)
        self._targets[target.leg] = target
        try:
            host = await self._rim.sip_hosts.place(
                name, lambda message: self.on_sip(target.leg, message), besides=self._full.get(target.leg, ())
            )
        except Refusal as refusal:
            self.put(on.NotDialled(target.leg, refusal))
            return
        if (target.leg, False) not in self._state.sip_legs:  # it was ended while we waited
            self._rim.sip_hosts.release(host, name)
            self.put(on.SipEnded(target.leg, 0))
            return
        self._sip[target.leg] = host
        self.recorder.record.trunk_id = self.recorder.record.trunk_id or target.trunk_id
        self.recorder.step("worker", "pbx", "INVITE")
        self._timers[f"silent-{target.leg}"] = asyncio.get_running_loop().call_later(
            self._rim.first_answer_s, self._give_up_silent, target.leg
        )
        host.send({"command": "dial", "call": name, "uri": target.uri, "caller": self.caller_header, "headers": []})

    def _end_sip(self, effect: do.EndSip) -> None:
        up = self.recorder.record.answered_at > 0
        headers: list[list[str]] = []
        status, phrase = effect.status, effect.phrase
        if effect.elsewhere:
            self._elsewhere.add(effect.leg)
            headers = [["Reason", ELSEWHERE]]
        elif effect.refusal is not None:
            status, phrase = effect.refusal.row.sip_status, effect.refusal.phrase
            headers = [list(header) for header in effect.refusal.sip_headers()]
        elif status:
            headers = [["Reason", f'SIP;cause={status};text="{phrase}"']]
        self.recorder.step("worker", "pbx", "BYE" if up else f"{status} {phrase}".strip())
        if effect.leg not in self._sip:
            self.put(on.SipEnded(effect.leg, status))
            return
        self._command(effect.leg, "hangup", status=0 if up else max(status, 400), phrase=phrase, headers=headers)

    # Telegram's signalling.

    def open_stream(self, **first: Any) -> None:
        """Begins the phone call's stream; its events arrive in the inbox."""
        stream = self._stream = self._rim.storages.call(self.session)
        stream.ask(**first)
        self.recorder.step("worker", "storage", "StartCall" if "start" in first else "TakeCall")
        self._spawn(self._follow(stream))

    def _note_taken(self, taken: bool) -> None:
        if not self._taken.done():
            self._taken.set_result(taken)

    async def _follow(self, stream: CallStream) -> None:
        requested = over = False
        try:
            async for event in stream.events():
                requested = requested or event.WhichOneof("kind") == "requested"
                over = over or event.WhichOneof("kind") == "discarded"
                self._on_storage(event)
            lost = Refusal("storage-unreachable")
        except Refusal as refusal:
            lost = refusal
        finally:
            stream.close()
        if self._stream is stream:
            self._stream = None
        self._note_taken(False)
        if over:
            return
        if self._state.from_sip and not requested:
            self.recorder.step("storage", "worker", lost.phrase)
            self.put(on.Refused(lost))
        else:
            self.put(on.TelegramLost(lost))

    def _on_storage(self, event: pb.CallResponse) -> None:
        match event.WhichOneof("kind"):
            case "step":
                self.recorder.add_step(event.step)
            case "requested":
                self._note_taken(True)
                self.recorder.record.called = self.recorder.record.called or _display(event.requested.peer)
            case "ringing":
                self.recorder.step("storage", "worker", "ringing")
                self.put(on.TelegramRinging())
            case "ready":
                self.recorder.step("storage", "worker", "ready: key and servers")
                self._ready = event.ready
                self.recorder.record.media.telegram_library_version = ",".join(event.ready.library_versions)
                self.put(on.TelegramReady())
            case "signalling":
                self._to_media(base64.b64encode(event.signalling.data).decode())
            case "discarded":
                reason = _WORDS.get(event.discarded.reason, "hangup")
                self.recorder.record.telegram_reason = reason
                self.put(on.TelegramEnded(reason))

    def _ask(self, **wish: Any) -> None:
        if self._stream is not None:
            self._stream.ask(**wish)

    def _discard(self, reason: str) -> None:
        if self._stream is None:
            self.put(on.TelegramEnded(reason))
            return
        self.recorder.step("worker", "storage", f"discard {reason}")
        self._ask(discard=pb.DiscardCall(reason=_REASONS[reason], duration=self.recorder.talk_seconds))

    async def _tell_caller(self, refusal: Refusal) -> None:
        text = f"{refusal.row.sip_status} {refusal.phrase}\n{refusal.row.remedy}"
        try:
            await self._rim.storages.send_message(self.session.session_id, self.caller_user_id, text)
        except Refusal as failed:
            self._log.warning("caller could not be told", row=refusal.row.id, why=failed.row.id)

    # Telegram's sound.

    async def _open_media(self) -> None:
        assert self._ready is not None
        try:
            host = self._media = await self._rim.telegram_hosts.place(self.call_id, self._on_media)
        except Refusal as refusal:
            self.put(on.MediaFailed(refusal.phrase))
            return
        ready = self._ready
        rate = next((sip.rate for sip in self._sip.values()), 8000)
        host.send(
            {
                "command": "open",
                "call": self.call_id,
                "rate": rate,
                "key": base64.b64encode(ready.key).decode(),
                "outgoing": ready.outgoing,
                "servers": [_server(server) for server in ready.servers],
                "versions": list(ready.library_versions),
                "p2p": ready.p2p_allowed,
                "parameters": ready.custom_parameters,
            },
            self._rings.descriptor,
        )
        self.recorder.step("worker", "telegram", "media connects")
        early, self._early_signalling = self._early_signalling, []
        for data in early:
            self._to_media(data)

    def _to_media(self, data: str) -> None:
        if self._media is None:
            self._early_signalling.append(data)
        else:
            self._media.send({"command": "signalling", "call": self.call_id, "data": data})

    def _close_media(self) -> None:
        self._early_signalling = []
        if self._media is None:
            self.put(on.MediaClosed())
        else:
            self._media.send({"command": "close", "call": self.call_id})

    def _on_media(self, message: Message) -> None:
        match message["event"]:
            case "connected":
                self.recorder.media({"media_connect_ms": message["connect_ms"]})
                self.recorder.step("telegram", "worker", "media connected")
                self.put(on.MediaConnected())
            case "failed":
                self.recorder.step("telegram", "worker", message["why"][:100])
                self.put(on.MediaFailed(message["why"]))
            case "signalling":
                self._ask(signalling=pb.SignallingData(data=base64.b64decode(message["data"])))
            case "closed":
                self.recorder.media(message["stats"])
                self._release_media()
                self.put(on.MediaClosed())
            case _ if message["event"] == DIED:
                self._media = None
                self.put(on.HostDied("telegram"))

    def _release_media(self) -> None:
        if self._media is not None:
            self._rim.telegram_hosts.release(self._media, self.call_id)
            self._media = None

    # The end.

    def _let_everything_go(self) -> None:
        for timer in list(self._timers):
            self._stop_timer(timer)
        if self._state.phase is not machine.Phase.ENDED:  # cancelled: hang up without waiting for answers
            for leg in list(self._sip):
                self._command(leg, "hangup", status=503, phrase="Worker is restarting", headers=[])
            if self._media is not None:
                self._media.send({"command": "close", "call": self.call_id})
        for leg in list(self._sip):
            self._let_leg_go(leg)
        self._release_media()
        if self._stream is not None:
            self._stream.close()
        with contextlib.suppress(OSError):
            self._rings.close()


def _display(peer: call_pb2.Peer) -> str:
    if peer.username:
        return f"@{peer.username}"
    return f"+{peer.phone.lstrip('+')}" if peer.phone else str(peer.user_id)


def _server(server: pb.MediaServer) -> Message:
    return {
        "id": server.id,
        "ipv4": server.ipv4,
        "ipv6": server.ipv6,
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "turn": server.turn,
        "stun": server.stun,
        "tcp": server.tcp,
        "peer_tag": base64.b64encode(server.peer_tag).decode() if server.peer_tag else "",
    }
