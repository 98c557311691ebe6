"""Call records as Workers report them: each call's one record, and only of calls that were routed to that Worker.

A Worker without a certificate is on this machine and is believed, as everybody is who has the token. One with a
certificate shows the Manager's mark (`proofs.py`). Without it there are calls that were refused before they were
routed: so many, without talk, and no failures of anybody's plan. And for a while after an upgrade there are those of
Workers, or beside Managers, of the version before.
"""

from __future__ import annotations

import math
import re
import time

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.metrics import REFUSED_DROPPED
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2

from teletrunk_manager.call_records import LONGEST_SIP_CALL_ID, indexed
from teletrunk_manager.db.database import Database, is_about_a_value
from teletrunk_manager.db.grace import in_grace
from teletrunk_manager.db.tables import Account, Assignment, Call, SipCallId, Trunk
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.domain.pace import Pace
from teletrunk_manager.fleet import require_own
from teletrunk_manager.mistakes import Mistake
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.subscriptions import Subscriptions

log = structlog.get_logger()

# Of one trunk at one Worker, by the calls' own times, for after an outage all come at once: as many as a Worker writes
# down (`refused_calls.py`: 30 in a minute of its own, of which up to eleven touch a span).
_SPAN_S, _MOST_IN_A_SPAN = 600.0, 330
# Of one Worker, whatever it names, by our time.
_REFUSED_AT_ONCE, _REFUSED_A_SECOND = 20_000.0, 5.0
_DROPS_TOLD_EVERY_S = 60.0
_HIGHEST_STATUS = 999
_CALL_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_LARGEST_REFUSED = 16_384  # bytes of such a record
_WRONG_CLOCK_S = 86_400.0  # with one that is further off no certificate holds
_MOST_LEGS = 64
_SLACK_S = 30.0  # between two Managers' clocks, and from an INVITE to its routing
_TO_TELEGRAM = call_pb2.DIRECTION_SIP_TO_TELEGRAM


class ReportedCalls:
    def __init__(
        self, database: Database, subscriptions: Subscriptions, deliveries: Deliveries, proofs: Proofs
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._proofs = proofs
        self._in_span = Pace(_MOST_IN_A_SPAN, 0.0)
        self._of_worker = Pace(_REFUSED_AT_ONCE, _REFUSED_A_SECOND)
        self._drops_told = Pace(1, 1 / _DROPS_TOLD_EVERY_S)

    async def keep(self, record: call_pb2.CallRecord, identity: Identity | None) -> None:
        """Keeps a record, once. Raises `Mistake` for one that this Worker has no right to."""
        if not _CALL_ID.fullmatch(record.call_id):
            raise Mistake("a call's record needs the call's id: up to 64 letters and digits")
        require_own(identity, record.worker_id)
        _make_storable(record)
        try:
            await self._keep(record, identity)
        except Refusal as refusal:
            if is_about_a_value(refusal.__cause__):  # as often as it is tried: the Worker shall put it aside
                raise Mistake("the record has a value that cannot be stored") from None
            raise

    async def _keep(self, record: call_pb2.CallRecord, identity: Identity | None) -> None:
        async with self._database.transaction() as session:
            known = await session.get(Call, record.call_id, with_for_update=True)
            if known is not None and known.worker_id != record.worker_id:
                raise Mistake(f"{record.call_id} is another Worker's call")
            routed = identity is None or await self._was_routed(session, record)
            if not record.trunk_id and record.direction == _TO_TELEGRAM:
                await _name_trunk(session, record, believed=routed)
            if not routed and not await self._may_be_refused(session, record):
                return
            record.ClearField("route_proof")
            # A finished one is never replaced.
            if known is None or call_pb2.CallRecord.FromString(known.record).recovered:
                await session.merge(_row(record, routed=routed))
                await _name_legs(session, record)
            if known is None:
                await self._deliveries.note(session, record)
        if routed:
            await self._subscriptions.ended(record.account_id, record.call_id)

    async def _was_routed(self, session: AsyncSession, record: call_pb2.CallRecord) -> bool:
        """False: it was refused before. Raises `Mistake` for what cannot have been."""
        now = time.time()
        _require_order(record, now)
        if record.HasField("route_proof"):
            self._require_proof(record)
            _cut(record, record.invited_at + now - record.route_proof.routed_at + _SLACK_S)
        elif not (record.trunk_id or record.answered_at):
            return False
        elif not await in_grace(session):
            raise Mistake("the Manager has not routed this call: its record lacks the Manager's mark")
        elif not record.answered_at and not await _may_use(session, record):  # whoever talked was routed before that
            raise Mistake("the account is assigned to other Workers")
        if record.trunk_id and not await _fits(session, record):
            raise Mistake("the trunk is another account's")
        return True

    def _require_proof(self, record: call_pb2.CallRecord) -> None:
        if not self._proofs.route_holds(record):
            raise Mistake("the Manager has not routed this call as its record says")
        if abs(record.invited_at - record.route_proof.routed_at) > _WRONG_CLOCK_S:
            raise Mistake("the call did not begin when it was routed")

    async def _may_be_refused(self, session: AsyncSession, record: call_pb2.CallRecord) -> bool:
        """False: not worth a row, as one of too many, or of an account that is other Workers'. Raises `Mistake`."""
        to_telegram = record.direction == _TO_TELEGRAM
        # Whoever calls from Telegram may give up before the Manager has answered.
        if (to_telegram and not record.error_id) or record.ByteSize() > _LARGEST_REFUSED:
            raise Mistake("a call that was not routed needs the row that it was refused with, and a short record")
        if record.account_id and await session.get(Account, record.account_id) is None:
            raise Mistake("there is no such account")
        # A PBX calls where it likes, and the account of its login may be for other Workers.
        if not to_telegram and record.error_id != "session-access-revoked" and not await _may_use(session, record):
            return False
        return self._has_room(record)

    def _has_room(self, record: call_pb2.CallRecord) -> bool:
        whose, span = record.trunk_id or record.account_id, record.invited_at // _SPAN_S
        if not self._in_span.allows((record.worker_id, whose, span)):
            limit = "trunk"
        elif not self._of_worker.allows(record.worker_id):
            limit = "worker"
        else:
            return True
        REFUSED_DROPPED.labels(limit).inc()
        if self._drops_told.allows(record.worker_id):
            log.warning("refused calls are not written down: too many", worker_id=record.worker_id, limit=limit)
        return False


def _make_storable(record: call_pb2.CallRecord) -> None:
    """PostgreSQL's texts hold no NUL, and a PBX may dial one: what is refused would wait, and all records behind it.

    Raises `Mistake`.
    """
    for field, value in record.ListFields():
        if isinstance(value, str) and "\0" in value:
            setattr(record, field.name, value.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    if record.sip_status > _HIGHEST_STATUS:
        raise Mistake("the record's SIP status is none")
    if len(record.sip_legs) > _MOST_LEGS:
        raise Mistake("the record has too many legs")
    for leg in record.sip_legs:
        leg.sip_call_id = leg.sip_call_id.replace("\0", "?")[:LONGEST_SIP_CALL_ID]


def _require_order(record: call_pb2.CallRecord, now: float) -> None:
    """Raises `Mistake`."""
    times = [record.invited_at, record.ringing_at, record.answered_at, record.ended_at]
    came = [at for at in times if at]
    if not all(map(math.isfinite, came)) or came != sorted(came) or not 0 < record.invited_at < now + _WRONG_CLOCK_S:
        raise Mistake("the record's times make no sense")


def _cut(record: call_pb2.CallRecord, latest: float) -> None:
    """No call has lasted longer than since it was routed, whatever its Worker says."""
    if record.ended_at > latest:
        log.warning("a call cannot have lasted so long: cut", **of_call(record), worker_id=record.worker_id,
                    ended_at=record.ended_at, latest=latest)  # fmt: skip
    for name in ("ringing_at", "answered_at", "ended_at"):
        setattr(record, name, min(getattr(record, name), max(latest, record.invited_at)))


async def _may_use(session: AsyncSession, record: call_pb2.CallRecord) -> bool:
    found = sa.select(Assignment.worker_id).where(Assignment.account_id == record.account_id)
    workers = (await session.scalars(found)).all()
    return not workers or record.worker_id in workers


async def _fits(session: AsyncSession, record: call_pb2.CallRecord) -> bool:
    """A trunk that was removed meanwhile fits: nobody else is shown its calls."""
    account_id = await session.scalar(sa.select(Trunk.account_id).where(Trunk.trunk_id == record.trunk_id))
    return account_id in (None, record.account_id)


async def _name_trunk(session: AsyncSession, record: call_pb2.CallRecord, *, believed: bool) -> None:
    """A call that was refused before it was routed names only the login."""
    if not believed:
        record.account_id = ""
    trunk = await session.scalar(sa.select(Trunk).where(Trunk.login == record.caller))
    if trunk is not None:
        record.trunk_id, record.account_id = trunk.trunk_id, trunk.account_id
        for leg in record.sip_legs:
            leg.trunk_id = trunk.trunk_id if leg.login == trunk.login else leg.trunk_id


async def _name_legs(session: AsyncSession, record: call_pb2.CallRecord) -> None:
    """What was known of a call whose Worker was killed is part of what its own Worker says."""
    await session.flush()
    known = set(await session.scalars(sa.select(SipCallId.sip_call_id).where(SipCallId.call_id == record.call_id)))
    wanted = {leg.sip_call_id for leg in record.sip_legs if leg.sip_call_id}
    session.add_all(SipCallId(sip_call_id=each, call_id=record.call_id) for each in wanted - known)


def _row(record: call_pb2.CallRecord, *, routed: bool) -> Call:
    return Call(
        call_id=record.call_id,
        account_id=record.account_id,
        trunk_id=record.trunk_id,
        worker_id=record.worker_id,
        to_telegram=record.direction == _TO_TELEGRAM,
        caller=indexed(record.caller),
        called=indexed(record.called),
        invited_at=record.invited_at,
        ringing_at=record.ringing_at,
        answered_at=record.answered_at,
        ended_at=record.ended_at,
        ended_by=record.ended_by,
        error_id=record.error_id,
        sip_status=record.sip_status,
        routed=routed,
        record=record.SerializeToString(),
    )
