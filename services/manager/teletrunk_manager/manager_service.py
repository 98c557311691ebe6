"""ManagerService: what Workers and Storages ask."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.security import identity_of
from teletrunk.tracing import call_span
from teletrunk.v1 import call_pb2, manager_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.attachments import Attachments
from teletrunk_manager.authentication import Authentication, Pbx
from teletrunk_manager.configurations import assignment
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Call, Share, Trunk
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.domain import callers, dialling, trunk_options
from teletrunk_manager.domain.rights import may_use
from teletrunk_manager.domain.tiers import tiers
from teletrunk_manager.enrolment import Enrolment
from teletrunk_manager.fleet import Fleet
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake, explaining
from teletrunk_manager.refused_registrations import RefusedRegistrations
from teletrunk_manager.retirement import Retirement
from teletrunk_manager.subscriptions import Subscriptions


def traced(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Decorates a method whose request has a call's id: its time is part of the call's trace."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        with call_span(method.__name__, request.call_id):
            return await method(self, request, context)

    return answer


class ManagerService(manager_pb2_grpc.ManagerServiceServicer):
    def __init__(
        self,
        database: Database,
        live: Live,
        authentication: Authentication,
        attachments: Attachments,
        fleet: Fleet,
        enrolment: Enrolment,
        retirement: Retirement,
        subscriptions: Subscriptions,
        deliveries: Deliveries,
        refused_registrations: RefusedRegistrations,
    ) -> None:
        self._refused_registrations = refused_registrations
        self._deliveries = deliveries
        self._subscriptions = subscriptions
        self._fleet = fleet
        self._enrolment = enrolment
        self._retirement = retirement
        self._database = database
        self._live = live
        self._authentication = authentication
        self._attachments = attachments

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        try:
            # Closed at once when the stream is cancelled, and not when somebody collects what is left of it.
            async with contextlib.aclosing(self._attachments.hold(requests, identity_of(context))) as responses:
                async for response in responses:
                    yield response
        except Mistake as mistake:
            await context.abort(mistake.code, str(mistake))
        except Refusal as refusal:
            await rpc.abort(context, refusal)

    @explaining
    async def Register(self, request: pb.RegisterRequest, context: Any) -> pb.RegisterResponse:
        self._fleet.require_own(identity_of(context), request.worker_id)
        try:
            return await self._register(request)
        except Refusal as refusal:
            login, source = request.digest.username, request.source_address
            self._refused_registrations.note(login, source, request.worker_id, refusal)
            raise

    async def _register(self, request: pb.RegisterRequest) -> pb.RegisterResponse:
        pbx = await self._authentication.pbx(request.digest, request.source_address, request.worker_id)
        if self._live.place(pbx.session_id, pbx.storage_id) is None:
            raise Refusal("storage-off")
        report = self._live.session(pbx.session_id, pbx.storage_id)
        if report is not None and report.state == pb.SESSION_STATE_UNAUTHORIZED:
            raise Refusal("account-inactive", report.reason)
        return pb.RegisterResponse(trunk_id=pbx.trunk_id, login=pbx.login, password_revision=pbx.password_revision)

    @explaining
    @traced
    async def RouteCall(self, request: pb.RouteCallRequest, context: Any) -> pb.RouteCallResponse:
        asked = _step("worker", "manager", "RouteCall")
        self._fleet.require_own(identity_of(context), request.worker_id)
        pbx = await self._pbx(request)
        reading = dialling.read(request.called, pbx.options)
        if reading.destination is None:
            raise Refusal(reading.row, reading.why)
        self._require_active(pbx)
        if not request.registered:
            raise Refusal("not-registered")
        permit = await self._subscriptions.permit(pbx.subscription_id, request.call_id, request.worker_id)
        return pb.RouteCallResponse(
            trunk_id=pbx.trunk_id,
            account_id=pbx.account_id,
            session=assignment(pbx, self._live),
            codecs=pbx.codecs.split(","),
            steps=[asked, _step("manager", "worker", _route_text(pbx, reading))],
            line=permit.line,
            longest_seconds=permit.longest_seconds,
            destination=reading.destination,
        )

    async def _pbx(self, request: pb.RouteCallRequest) -> Pbx:
        """Raises `Refusal`."""
        if request.trunk_id:
            return await self._authentication.known_pbx(request.trunk_id, request.worker_id)
        return await self._authentication.pbx(request.digest, request.source_address, request.worker_id)

    def _require_active(self, pbx: Pbx) -> None:
        if self._live.place(pbx.session_id, pbx.storage_id) is None:
            raise Refusal("storage-unreachable")
        report = self._live.session(pbx.session_id, pbx.storage_id)
        if report is None:
            raise Refusal("no-active-session")
        if report.state != pb.SESSION_STATE_ACTIVE:
            raise Refusal("session-disconnected", report.reason)

    @explaining
    @traced
    async def RouteIncoming(self, request: pb.RouteIncomingRequest, context: Any) -> pb.RouteIncomingResponse:
        asked = _step("worker", "manager", "RouteIncoming")
        self._fleet.require_own(identity_of(context), request.worker_id)
        async with self._database.transaction(reading=True) as session:
            account = await session.scalar(sa.select(Account).where(Account.session_id == request.session_id))
            if account is None:
                raise Refusal("worker-unavailable", "the session belongs to no account")
            if await session.scalar(sa.select(Account.user_id).where(Account.user_id == request.caller.user_id)):
                raise Refusal("caller-is-gateway")
            found = (await session.scalars(sa.select(Trunk).where(Trunk.account_id == account.account_id))).all()
            shared = sa.select(Share.administrator).where(Share.account_id == account.account_id)
            sharers = (await session.scalars(shared)).all()
            usable = [
                trunk
                for trunk in found
                if may_use(trunk.administrator, account.owner, sharers) and not trunk_options.read(trunk.options).off
            ]
        ringing = [t for t in usable if not callers.objection(request.caller, trunk_options.read(t.options))]
        if usable and not ringing:
            raise Refusal("caller-not-allowed")
        order = tiers(ringing)
        await self._fleet.require_assigned(account.account_id, request.worker_id)
        permit = await self._subscriptions.permit(account.subscription_id, request.call_id, request.worker_id)
        text = f"route: account {account.phone or account.username}, {sum(map(len, order))} trunk(s)"
        return pb.RouteIncomingResponse(
            account_id=account.account_id,
            tiers=[pb.IncomingTier(targets=[_target(trunk, request.caller) for trunk in tier]) for tier in order],
            caller_id=callers.caller_id(request.caller),  # for a Worker that does not look at its targets'
            caller_name=callers.caller_name(request.caller),
            steps=[asked, _step("manager", "worker", text)],
            line=permit.line,
            longest_seconds=permit.longest_seconds,
        )

    @explaining
    async def ReportCall(self, request: pb.ReportCallRequest, context: Any) -> pb.ReportCallResponse:
        record = request.record
        if not record.call_id:
            raise Mistake("a call's record needs the call's id")
        self._fleet.require_own(identity_of(context), record.worker_id)
        async with self._database.transaction() as session:
            known = await session.get(Call, record.call_id, with_for_update=True)
            if known is not None and known.worker_id != record.worker_id:
                raise Mistake(f"{record.call_id} is another Worker's call")
            if not record.trunk_id and record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM:
                await _name_trunk(session, record)
            if known is None or not record.recovered or call_pb2.CallRecord.FromString(known.record).recovered:
                await session.merge(_row(record))
            if known is None:
                await self._deliveries.note(session, record)
        await self._subscriptions.ended(record.account_id, record.call_id)
        return pb.ReportCallResponse()

    @explaining
    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        return await self._enrolment.renew(identity_of(context), request.signing_request)

    @explaining
    async def Leave(self, request: pb.LeaveRequest, context: Any) -> pb.LeaveResponse:
        await self._retirement.leave(identity_of(context))
        return pb.LeaveResponse()


async def _name_trunk(session: AsyncSession, record: call_pb2.CallRecord) -> None:
    """A call that was refused before it was routed names only the login."""
    trunk = await session.scalar(sa.select(Trunk).where(Trunk.login == record.caller))
    if trunk is not None:
        record.trunk_id, record.account_id = trunk.trunk_id, trunk.account_id


def _row(record: call_pb2.CallRecord) -> Call:
    return Call(
        call_id=record.call_id,
        account_id=record.account_id,
        trunk_id=record.trunk_id,
        worker_id=record.worker_id,
        to_telegram=record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM,
        caller=record.caller,
        called=record.called,
        invited_at=record.invited_at,
        ringing_at=record.ringing_at,
        answered_at=record.answered_at,
        ended_at=record.ended_at,
        ended_by=record.ended_by,
        error_id=record.error_id,
        sip_status=record.sip_status,
        record=record.SerializeToString(),
    )


def _target(trunk: Trunk, caller: call_pb2.Peer) -> pb.IncomingTarget:
    options = trunk_options.read(trunk.options)
    number = callers.caller_id(caller, options.caller_ids)
    return pb.IncomingTarget(
        trunk_id=trunk.trunk_id,
        login=trunk.login,
        codecs=trunk.codecs.split(","),
        caller_id=number,
        caller_name=callers.caller_name(caller, options.caller_names, number),
        number_on_pbx=options.number_on_pbx,
    )


def _route_text(pbx: Pbx, reading: dialling.Reading) -> str:
    return f"route: account {pbx.phone or pbx.username}, {reading.steps[-1].number}"


def _step(source: str, target: str, text: str) -> call_pb2.CallStep:
    return call_pb2.CallStep(at=time.time(), source=source, target=target, text=text)
