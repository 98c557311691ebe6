"""A leg to a PBX: in a SIP host, with its dialog through the edge."""

from __future__ import annotations

from typing import Any

import structlog
from teletrunk import causes
from teletrunk.errors import Refusal
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call import reasons
from teletrunk_worker.call.inbox import Put
from teletrunk_worker.call.record import clean_call_id
from teletrunk_worker.call.surroundings import NARROW_RATE, CallContext, Host, Hosts, SipEdge
from teletrunk_worker.legs.supervisor import DIED
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.relay.routes import leg_header
from teletrunk_worker.sip.sound import SoundTerms

log = structlog.get_logger()

_MOST_DIGITS = 64  # of a leg, that are written down
_NOT_RECORDED = "(not recorded)"  # in the place of keys, and like none
_OFFER_REFUSED = (488, 415)  # what the caller's own description is refused with


class HostedLeg:
    """Waits for the caller's INVITE, or dials `target`."""

    def __init__(
        self,
        name: str,
        context: CallContext,
        hosts: Hosts[Any],
        edge: SipEdge,
        put: Put,
        target: on.Target | None = None,
    ) -> None:
        self._name = name
        self._id = leg_header(context.call_id, name)
        self._context = context
        self._hosts = hosts
        self._edge = edge
        self._put = put
        self._target = target
        self._host: Host | None = None
        self._refused_by: list[Host] = []  # hosts that had no place, whatever they had said
        self._begun = False  # the host knows of the dialog
        self._heard = False  # the peer has said something
        self._up = False
        self._told = False  # to end
        self._over = False
        self._elsewhere = False
        self._digits = 0
        self._placing = context.tasks.run(self._place())

    @property
    def _rung(self) -> str:
        """Its name in the record's steps: there is one caller, and there may be many that were rung."""
        return "" if self._target is None else self._name

    @property
    def _sound(self) -> SoundTerms:
        target = self._target
        return self._edge.sound_of(self._context.recorder.record.trunk_id if target is None else target.trunk_id)

    async def _place(self) -> None:
        if self._target is not None and (refusal := self._edge.objection_to(self._target.uri)) is not None:
            self._not_placed(refusal)
            return
        try:
            rate = self._context.rate
            wide = rate > NARROW_RATE if rate else self._sound.is_wide(self._context.offered)
            host = self._host = await self._hosts.place(self._id, self._on_host, besides=self._refused_by, wide=wide)
        except Refusal as refusal:
            self._not_placed(refusal)
            return
        if rate not in (0, host.rate):  # the call's sound has a rate, and no host of it has room
            self._not_placed(Refusal("worker-full"))
            return
        if self._target is not None:
            self._dial(self._target)
        self._put(on.Placed(self._name, host.port))

    def _dial(self, target: on.Target) -> None:
        record = self._context.recorder.record
        record.trunk_id = record.trunk_id or target.trunk_id
        self._step_out("INVITE")
        self._begun = True
        self._command("dial", uri=target.uri, caller=target.caller, headers=[list(header) for header in target.headers])

    # What the runner wants.

    def ring(self) -> None:
        self._command("ring")
        self._step_out("180 Ringing")

    def answer(self) -> None:
        self._up = True
        self._command("answer")
        self._step_out("200 OK")

    def connect(self) -> None:
        if self._host is not None:
            sound, peer = self._sound, self._edge.peer_address(self._context.call_id, self._name)
            attach: Message = {"command": "attach", "call": self._id, "peer": peer}
            attach |= {"dtmf": sound.dtmf, "hold": sound.hold}
            self._host.send(attach, self._context.rings.descriptor)
            self._context.rate = self._host.rate
            if self._target is not None:  # of several that were rung
                self._context.recorder.record.trunk_id = self._target.trunk_id

    def detach(self) -> None:
        self._command("detach")

    def press(self, digits: str) -> None:
        method = self._sound.dtmf or ("rfc4733" if self.offers_digits() else "info")
        self._command("press", digits=digits, by=method)
        self._step_out(f"digits {self._recorded(digits)} by {method}")

    def notify(self, how: do.NotifyTransfer) -> None:
        if how.subscription:
            self._command("notify", event=how.subscription, status=how.status, phrase=how.phrase)
            self._step_out(f"NOTIFY {how.status} {how.phrase}")

    def end(self, end: do.EndSip) -> None:
        if self._over:
            return
        self._told, self._elsewhere = True, self._elsewhere or end.elsewhere
        status, phrase = reasons.status_of(end)
        if self._target is None or self._begun:  # else the peer knows nothing yet
            self._step_out("BYE" if self._up else f"{status or ''} {phrase}".strip())
        if not self._begun:
            self._end_before_it_began(end, status)
            return
        self._hang_up(status, phrase, reasons.headers_of(end))
        if self._target is not None and not self._heard:  # no CANCEL may be sent: the host would wait half a minute
            self._edge.leg_is_over(self._context.call_id, self._name, elsewhere=self._elsewhere)

    def _hang_up(self, status: int, phrase: str, headers: reasons.Headers) -> None:
        """A refusal has a phrase; of a BYE's or CANCEL's, pjsua would make a second Reason header."""
        refuses = self._target is None and not self._up
        self._command(
            "hangup",
            status=0 if self._up else max(status, 400),
            phrase=phrase if refuses else "",
            headers=[list(header) for header in headers],
        )

    def _end_before_it_began(self, end: do.EndSip, status: int) -> None:
        """No host has the dialog, which the edge may have let in already."""
        if self._target is None:
            refusal = end.refusal or Refusal("telegram-error", end.phrase)
            self._edge.speak_for_dead_host(self._context.call_id, self._name, refusal)
        self._let_go()
        self._put(on.SipEnded(self._name, status))

    def speak(self, refusal: Refusal) -> None:
        self._edge.speak_for_dead_host(self._context.call_id, self._name, refusal)

    def heard(self) -> None:
        if not self._heard:
            self._heard = True
            self._put(on.SipHeard(self._name))

    def refused(self, status: int, phrase: str) -> None:
        """A host that has said nothing of the INVITE has refused it: for what it offers, or as it has no place."""
        if self._begun or self._over or self._host is None:
            return
        self._let_go()
        if status in _OFFER_REFUSED:
            self._put(on.SipEnded(self._name, status, phrase))
        else:
            full = Refusal("worker-full")
            self._put(on.NotPlaced(self._name, full, status))

    def offers_digits(self) -> bool:
        return self._edge.offered_telephone_event(self._context.call_id, self._name)

    def release(self) -> None:
        if self._over:
            return
        if not self._told:
            self._hang_up(503, "Worker is restarting", [])
        self._let_go()

    # What its host says.

    def _on_host(self, message: Message) -> None:
        match message["event"]:
            case "incoming":
                self._begun = True
                self.connect()
                self._put(on.Begun())
            case "dialled" if self._target is not None:
                self._dialled(self._target, message["sip_call_id"])
            case "progress" if message["status"] >= 180:
                self._heard = True
                self._step_in(f"{message['status']} Ringing")
                self._put(on.SipRinging(self._name))
            case "answered":
                self._answered(message)
            case "ended":
                self._ended(message)
            case "detached":
                self._put(on.SipDetached(self._name))
            case "refused":
                self._look_for_another(message["why"])
            case "undialled":
                self._not_placed(Refusal("media-failed", f"SIP host could not dial: {message['why']}"))
            case "digit":
                self._digit(message["digit"], message["by"])
            case "silent":
                self._put(on.HangUp(causes.NO_SOUND.refusal()))
            case "trouble":  # it could not ring or answer
                self._put(on.HangUp(Refusal("media-failed", f"SIP host: {message['text']}")))
            case _ if message["event"] == DIED:
                self._host, self._over = None, True
                self._put(on.HostDied("sip", self._name))

    def _dialled(self, target: on.Target, sip_call_id: str) -> None:
        leg = call_pb2.SipLeg(
            name=self._name,
            sip_call_id=clean_call_id(sip_call_id),
            trunk_id=target.trunk_id,
            login=target.login,
            peer=target.peer,
        )
        self._context.recorder.leg(leg)
        log.info(
            "leg dialled", **{**of_call(self._context.recorder.record), "trunk_id": leg.trunk_id},
            leg=leg.name, sip_call_id=leg.sip_call_id, login=leg.login, peer=leg.peer,
        )  # fmt: skip

    def _answered(self, message: Message) -> None:
        self._heard = self._up = True
        self._context.recorder.media({"codec": message["codec"]})
        if self._target is not None and not self._told:
            self._step_in("200 OK")
        self._put(on.SipAnswered(self._name))

    def _digit(self, digit: str, by: str) -> None:
        self._digits += 1
        if self._digits <= _MOST_DIGITS:  # the rest is only counted
            recorded = self._recorded(digit)
            self._step_in(f"digit {recorded} by {by}")
            log.info("digit", **of_call(self._context.recorder.record), digit=recorded, by=by)

    def _recorded(self, keys: str) -> str:
        """What records and logs have of keys that were pressed: callers type cards and PINs."""
        return keys if self._sound.record_digits else _NOT_RECORDED

    def _ended(self, message: Message) -> None:
        refusal = self._edge.refused_answer(self._context.call_id, self._name)
        if not self._up and refusal is not None:
            self._step_in("200 OK")
            self._context.recorder.step("worker", "worker", f"its answer is refused: {refusal.phrase}")
            self._let_go()
            self._put(on.NotPlaced(self._name, refusal))
            return
        by_itself = self._up and not message["by_us"]
        if by_itself and (own := refusal or reasons.of_hosts_own_end(message["status"], message["phrase"])):
            self._step_out(f"BYE: {own.phrase}")
            self._context.recorder.media(message["stats"])
            self._let_go()
            self._put(on.NotPlaced(self._name, own))
            return
        cause = self._edge.cause_of(self._context.call_id, self._name)
        if not message["by_us"]:
            bye = f"BYE, Q.850 cause {cause}" if cause else "BYE"
            self._step_in(bye if self._up else f"{message['status']} {message['phrase']}")
        self._context.recorder.media(message["stats"])
        self._let_go()
        self._put(on.SipEnded(self._name, message["status"], message["phrase"], cause))

    def _look_for_another(self, why: str) -> None:
        log.warning("sip host has no place", **of_call(self._context.recorder.record), why=why)
        if self._host is None or self._over:
            return
        self._refused_by.append(self._host)
        self._hosts.release(self._host, self._id)
        self._host, self._begun = None, False
        if self._told:
            self._let_go()
            self._put(on.SipEnded(self._name, 0))
        else:
            self._placing = self._context.tasks.run(self._place())

    def _not_placed(self, refusal: Refusal) -> None:
        if self._target is not None:
            why = f"{self._target.login or 'the trunk'} is not rung: {refusal.row.sip_status} {refusal.phrase}"
            self._context.recorder.step("worker", "worker", why)
        self._let_go()
        self._put(on.NotPlaced(self._name, refusal))

    # Its end.

    def _let_go(self) -> None:
        """Its host, and the edge's dialog, have nothing to do any more."""
        self._over = True
        self._placing.cancel()
        if self._host is not None:
            self._hosts.release(self._host, self._id)
            self._host = None
        self._edge.leg_is_over(self._context.call_id, self._name, elsewhere=self._elsewhere)

    def _command(self, command: str, **fields: object) -> None:
        if self._host is not None:
            self._host.send({"command": command, "call": self._id, **fields})

    def _step_in(self, text: str) -> None:
        self._context.recorder.step("pbx", "worker", text, leg=self._rung)

    def _step_out(self, text: str) -> None:
        self._context.recorder.step("worker", "pbx", text, leg=self._rung)
