"""Collects what is known of a call while it runs, for the one record at its end."""

from __future__ import annotations

import time
from collections.abc import Callable

from teletrunk import metrics
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2

from teletrunk_worker.call.state import CALLER_LEG, State
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.policy.admission import Invite

_MOST_STEPS = 1_000
_MOST_LEGS = 64
_LONGEST_CALL_ID, _LONGEST_LOGIN, _LONGEST_DETAIL = 128, 64, 200
_FIGURES = {field.name for field in call_pb2.MediaStats.DESCRIPTOR.fields}


def direction_of(record: call_pb2.CallRecord) -> str:
    return "to-telegram" if record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM else "to-sip"


def count(record: call_pb2.CallRecord, *, refusal_counted: bool = False) -> None:
    """A call that has ended, as metrics see it."""
    if record.error_id and not refusal_counted:
        metrics.REFUSALS.labels(record.error_id).inc()
    direction = direction_of(record)
    metrics.CALLS_ENDED.labels(direction, record.ended_by, "yes" if record.answered_at else "no").inc()
    if record.ringing_at:
        metrics.SETUP_SECONDS.labels(direction).observe(max(0.0, record.ringing_at - record.invited_at))
    if record.answered_at:
        metrics.TALK_SECONDS.labels(direction).inc(max(0.0, record.ended_at - record.answered_at))
    metrics.LATE_BLOCKS.labels("telegram").inc(record.media.late_to_telegram)
    metrics.LATE_BLOCKS.labels("sip").inc(record.media.late_to_sip)
    metrics.RTP_LOST.inc(record.media.rtp_lost)


def telegram_name(peer: call_pb2.Peer) -> str:
    """A Telegram user as records name them."""
    if peer.username:
        return f"@{peer.username}"
    return f"+{peer.phone.lstrip('+')}" if peer.phone else str(peer.user_id)


def clean_call_id(written: str) -> str:
    """A Call-ID as it is kept and looked for: peers write what they like."""
    return "".join(c if "!" <= c <= "~" else "?" for c in written[:_LONGEST_CALL_ID])


def caller_leg(invite: Invite, trunk_id: str = "") -> call_pb2.SipLeg:
    """`trunk_id` as the Manager has found it; when it was not asked, that of a PBX which is known without it."""
    return call_pb2.SipLeg(
        name=CALLER_LEG,
        sip_call_id=clean_call_id(invite.sip_call_id),
        trunk_id=trunk_id or invite.trunk_id,
        login=invite.credentials.username[:_LONGEST_LOGIN].encode("utf-8", "replace").decode(),
        peer=invite.peer,
    )


def note_refusal(record: call_pb2.CallRecord, refusal: Refusal) -> None:
    """What the call was refused with. Some details are of peers' making: cut and cleaned."""
    detail = refusal.detail[:_LONGEST_DETAIL].encode("utf-8", "replace").decode()
    record.error_id, record.error_detail, record.cause = refusal.row.id, detail, refusal.cause


class Recorder:
    """Times, steps and figures of one call, from the moment that it is made.

    The wall clock is looked at once; from then on the times go by one that does not jump, so that neither a clock
    that is set, nor one that is slow, makes a call longer or shorter than it was.
    """

    def __init__(
        self, call_id: str, worker_id: str, *, from_sip: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._ahead = time.time() - clock()
        direction = call_pb2.DIRECTION_SIP_TO_TELEGRAM if from_sip else call_pb2.DIRECTION_TELEGRAM_TO_SIP
        self.record = call_pb2.CallRecord(
            call_id=call_id, worker_id=worker_id, direction=direction, invited_at=self._now()
        )

    def _now(self) -> float:
        return self._ahead + self._clock()

    def step(self, source: str, target: str, text: str, at: float = 0.0, leg: str = "") -> None:
        written = text.encode("utf-8", "replace").decode()  # peers write what they like
        self.add_step(call_pb2.CallStep(at=at or self._now(), source=source, target=target, text=written, leg=leg))

    def add_step(self, step: call_pb2.CallStep) -> None:
        """A step that another service saw and sent along. What a peer brings about without end is not written down."""
        if len(self.record.steps) < _MOST_STEPS:
            self.record.steps.append(step)

    def leg(self, leg: call_pb2.SipLeg) -> None:
        if len(self.record.sip_legs) < _MOST_LEGS:
            self.record.sip_legs.append(leg)

    def routed(self, proof: call_pb2.RouteProof, account_id: str) -> None:
        """The Manager wants its mark back; one of the version before gives none."""
        self.record.account_id = account_id
        if proof.mark:
            self.record.route_proof.CopyFrom(proof)

    def ringing(self) -> None:
        self.record.ringing_at = self.record.ringing_at or self._now()

    def answered(self) -> None:
        self.record.answered_at = self.record.answered_at or self._now()

    def ends(self) -> None:
        """From now on things are only put away: nobody talks any more, and nobody pays."""
        self.record.ended_at = self.record.ended_at or self._now()

    def media(self, stats: Message) -> None:
        """Takes over the figures that a host gives; a later report of the same replaces the earlier."""
        for name in _FIGURES & stats.keys():
            setattr(self.record.media, name, stats[name])

    def finish(self, state: State) -> call_pb2.CallRecord:
        self.ends()
        record = self.record
        record.ended_by = state.ended_by or "gateway"
        if state.refusal is not None:
            note_refusal(record, state.refusal)
        record.sip_status = 200 if record.answered_at else state.last_status
        ordered = sorted(record.steps, key=lambda step: step.at)
        del record.steps[:]
        record.steps.extend(ordered)
        return record

    @property
    def talk_seconds(self) -> int:
        until = self.record.ended_at or self._now()
        return round(until - self.record.answered_at) if self.record.answered_at else 0
