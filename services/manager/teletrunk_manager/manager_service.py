"""ManagerService: what Workers and Storages ask."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import sqlalchemy as sa
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars
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
from teletrunk_manager.db.tables import Account, Share, Trunk
from teletrunk_manager.domain import callers, dialling, trunk_options
from teletrunk_manager.domain.rights import may_use
from teletrunk_manager.domain.tiers import tiers
from teletrunk_manager.enrolment import Enrolment
from teletrunk_manager.fleet import Fleet, require_own
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake, explaining
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.refused_registrations import RefusedRegistrations
from teletrunk_manager.reported_calls import ReportedCalls
from teletrunk_manager.retirement import Retirement
from teletrunk_manager.subscriptions import Subscriptions

log = structlog.get_logger()

_MOST_LOGGED = 20  # trunks of a call
_LONGEST_LOGIN = 64


def traced(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Decorates a method whose request has a call's id: its time is part of the call's trace, and what is logged
    meanwhile says of which call; the method adds whose it is as soon as it knows."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        told = {"call_id": request.call_id, "worker_id": request.worker_id}
        with call_span(method.__name__, request.call_id), bound_contextvars(**told):
            try:
                return await method(self, request, context)
            except Refusal as refusal:
                log.info("call refused", row=refusal.row.id)
                raise

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
        proofs: Proofs,
        reported_calls: ReportedCalls,
        refused_registrations: RefusedRegistrations,
    ) -> None:
        self._refused_registrations = refused_registrations
        self._reported_calls = reported_calls
        self._proofs = proofs
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
        require_own(identity_of(context), request.worker_id)
        try:
            return await self._register(request)
        except Refusal as refusal:
            login, source = request.digest.username, request.source_address
            self._refused_registrations.note(login, source, request.worker_id, refusal)
            raise

    async def _register(self, request: pb.RegisterRequest) -> pb.RegisterResponse:
        pbx = await self._authentication.pbx(request.digest, request.source_address, request.worker_id)
        if not await self._live.comes(lambda: self._live.place(pbx.session_id, pbx.storage_id) is not None):
            raise Refusal("storage-off")
        report = self._live.session(pbx.session_id, pbx.storage_id)
        if report is not None and report.state == pb.SESSION_STATE_UNAUTHORIZED:
            raise Refusal("account-inactive", report.reason)
        self._refused_registrations.forget(pbx.login, request.source_address)
        return pb.RegisterResponse(trunk_id=pbx.trunk_id, login=pbx.login, password_revision=pbx.password_revision)

    @explaining
    @traced
    async def RouteCall(self, request: pb.RouteCallRequest, context: Any) -> pb.RouteCallResponse:
        asked = _step("worker", "manager", "RouteCall")
        require_own(identity_of(context), request.worker_id)
        bind_contextvars(login=request.digest.username[:_LONGEST_LOGIN])  # of a stranger: whatever it is
        pbx = await self._pbx(request)
        reading = dialling.read(request.called, pbx.options)
        if reading.destination is None:
            raise Refusal(reading.row, reading.why)
        await self._live.comes(lambda: self._is_active(pbx))
        self._require_active(pbx)
        if not request.registered:
            raise Refusal("not-registered")
        permit = await self._subscriptions.permit(pbx.subscription_id, request.call_id, request.worker_id)
        log.info("call routed")
        return pb.RouteCallResponse(
            trunk_id=pbx.trunk_id,
            account_id=pbx.account_id,
            session=assignment(pbx, self._live),
            codecs=pbx.codecs.split(","),
            steps=[asked, _step("manager", "worker", _route_text(pbx, reading))],
            line=permit.line,
            longest_seconds=permit.longest_seconds,
            destination=reading.destination,
            proof=self._proofs.of_route(request.call_id, request.worker_id, pbx.account_id, pbx.trunk_id),
        )

    async def _pbx(self, request: pb.RouteCallRequest) -> Pbx:
        """Raises `Refusal`."""
        if request.trunk_id:
            return await self._authentication.known_pbx(request.trunk_id, request.worker_id)
        return await self._authentication.pbx(request.digest, request.source_address, request.worker_id)

    def _is_active(self, pbx: Pbx) -> bool:
        report = self._live.session(pbx.session_id, pbx.storage_id)
        return report is not None and report.state == pb.SESSION_STATE_ACTIVE

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
        require_own(identity_of(context), request.worker_id)
        async with self._database.transaction(reading=True) as session:
            account = await session.scalar(sa.select(Account).where(Account.session_id == request.session_id))
            if account is None:
                raise Refusal("worker-unavailable", "the session belongs to no account")
            bind_contextvars(account_id=account.account_id)
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
        log.info("call routed", trunks=[trunk.trunk_id for tier in order for trunk in tier][:_MOST_LOGGED])
        text = f"route: account {account.phone or account.username}, {sum(map(len, order))} trunk(s)"
        return pb.RouteIncomingResponse(
            account_id=account.account_id,
            tiers=[pb.IncomingTier(targets=[_target(trunk, request.caller) for trunk in tier]) for tier in order],
            caller_id=callers.caller_id(request.caller),  # for a Worker that does not look at its targets'
            caller_name=callers.caller_name(request.caller),
            steps=[asked, _step("manager", "worker", text)],
            line=permit.line,
            longest_seconds=permit.longest_seconds,
            proof=self._proofs.of_route(request.call_id, request.worker_id, account.account_id),
        )

    @explaining
    async def ReportCall(self, request: pb.ReportCallRequest, context: Any) -> pb.ReportCallResponse:
        await self._reported_calls.keep(request.record, identity_of(context))
        return pb.ReportCallResponse()

    @explaining
    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        return await self._enrolment.renew(identity_of(context), request.signing_request)

    @explaining
    async def Leave(self, request: pb.LeaveRequest, context: Any) -> pb.LeaveResponse:
        await self._retirement.leave(identity_of(context))
        return pb.LeaveResponse()


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
