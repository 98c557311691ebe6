"""ManagerService: what Workers and Storages ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.identifiers import parse_called
from teletrunk.v1 import call_pb2, manager_pb2 as pb, manager_pb2_grpc
from teletrunk_manager.configurations import Configurations, assignment
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Call, Service, Trunk
from teletrunk_manager.domain import callers, digest
from teletrunk_manager.live import Attached, Live
from teletrunk_manager.passwords import PasswordSeal

log = structlog.get_logger()

_SILENCE_S = 15.0


class ManagerService(manager_pb2_grpc.ManagerServiceServicer):
    def __init__(self, database: Database, live: Live, configurations: Configurations, seal: PasswordSeal) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._seal = seal

    # Attaching.

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        first = await asyncio.wait_for(anext(aiter(requests)), rpc.DEADLINE_S)
        service = await self._welcome(first)
        if service is None:
            await rpc.abort_bad_input(context, "the first message must be a hello")
            return
        reader = asyncio.get_running_loop().create_task(self._read(service, requests))
        try:
            while (response := await service.outbox.get()) is not None:
                yield response
        finally:
            reader.cancel()
            self._live.detach(service)
            log.info("service detached", kind=service.kind, id=service.service_id)
            if service.kind == "storage":
                await self._configurations.push()

    async def _welcome(self, first: pb.AttachRequest) -> Attached | None:
        kind = first.WhichOneof("kind")
        if kind == "worker":
            hello, service_id, address = first.worker, first.worker.worker_id, first.worker.sip_address
        elif kind == "storage":
            hello, service_id, address = first.storage, first.storage.storage_id, first.storage.address
        else:
            return None
        row = Service(
            service_id=service_id,
            kind=kind,
            name=hello.name,
            version=hello.version,
            address=address,
            last_seen=time.time(),
        )
        async with self._database.transaction() as session:
            await session.merge(row)
        service = Attached(service_id, kind, address)
        self._live.attach(service)
        log.info("service attached", kind=kind, id=service_id, address=address)
        if kind == "worker":
            service.outbox.put_nowait(pb.AttachResponse(worker=await self._configurations.current()))
        else:
            await self._configurations.push()
        return service

    async def _read(self, service: Attached, requests: AsyncIterator[pb.AttachRequest]) -> None:
        """Takes heartbeats; a stream that says nothing for too long is closed."""
        try:
            while True:
                request = await asyncio.wait_for(anext(aiter(requests)), _SILENCE_S)
                if request.WhichOneof("kind") == "heartbeat":
                    service.heartbeat, service.seen = request.heartbeat, time.monotonic()
                    service.outbox.put_nowait(pb.AttachResponse(pulse=pb.Pulse()))
        except (StopAsyncIteration, TimeoutError):
            service.outbox.put_nowait(None)

    # Questions.

    @rpc.refusing
    async def Register(self, request: pb.RegisterRequest, context: Any) -> pb.RegisterResponse:
        async with self._database.transaction() as session:
            trunk, account = await self._authenticated(session, request.digest)
        report = self._live.session(account.storage_id, account.session_id)
        if self._live.find(account.storage_id) is None:
            raise Refusal("storage-off")
        if report is not None and report.state == pb.SESSION_STATE_UNAUTHORIZED:
            raise Refusal("account-inactive", report.reason)
        return pb.RegisterResponse(trunk_id=trunk.trunk_id, login=trunk.login)

    @rpc.refusing
    async def RouteCall(self, request: pb.RouteCallRequest, context: Any) -> pb.RouteCallResponse:
        asked = _step("worker", "manager", "RouteCall")
        async with self._database.transaction() as session:
            trunk, account = await self._authenticated(session, request.digest)
        if parse_called(request.called) is None:
            raise Refusal("user-not-found", "not a phone, @username or user id")
        if self._live.find(account.storage_id) is None:
            raise Refusal("storage-unreachable")
        report = self._live.session(account.storage_id, account.session_id)
        if report is None:
            raise Refusal("no-active-session")
        if report.state != pb.SESSION_STATE_ACTIVE:
            raise Refusal("session-disconnected", report.reason)
        return pb.RouteCallResponse(
            trunk_id=trunk.trunk_id,
            account_id=account.account_id,
            session=assignment(account, self._live),
            codecs=trunk.codecs.split(","),
            steps=[asked, _step("manager", "worker", f"route: {account.username or account.phone}")],
        )

    @rpc.refusing
    async def RouteIncoming(self, request: pb.RouteIncomingRequest, context: Any) -> pb.RouteIncomingResponse:
        asked = _step("worker", "manager", "RouteIncoming")
        async with self._database.transaction() as session:
            account = await session.scalar(sa.select(Account).where(Account.session_id == request.session_id))
            if account is None:
                raise Refusal("worker-unavailable")
            own = await session.scalar(sa.select(Account).where(Account.user_id == request.caller.user_id))
            if own is not None:
                raise Refusal("caller-is-gateway")
            query = sa.select(Trunk).where(Trunk.account_id == account.account_id).order_by(Trunk.priority)
            trunks = (await session.scalars(query)).all()
        tiers: dict[int, pb.IncomingTier] = {}
        for trunk in trunks:
            target = pb.IncomingTarget(trunk_id=trunk.trunk_id, login=trunk.login, codecs=trunk.codecs.split(","))
            tiers.setdefault(trunk.priority, pb.IncomingTier()).targets.append(target)
        return pb.RouteIncomingResponse(
            account_id=account.account_id,
            tiers=tiers.values(),
            caller_id=callers.caller_id(request.caller),
            caller_name=callers.caller_name(request.caller),
            steps=[asked, _step("manager", "worker", f"{len(trunks)} trunk(s)")],
        )

    @rpc.refusing
    async def ReportCall(self, request: pb.ReportCallRequest, context: Any) -> pb.ReportCallResponse:
        record = request.record
        async with self._database.transaction() as session:
            await session.merge(
                Call(
                    call_id=record.call_id,
                    account_id=record.account_id,
                    invited_at=record.invited_at,
                    record=record.SerializeToString(),
                )
            )
        return pb.ReportCallResponse()

    async def _authenticated(self, session: AsyncSession, answer: pb.Digest) -> tuple[Trunk, Account]:
        """The trunk that these credentials belong to, with its account."""
        trunk = await session.scalar(sa.select(Trunk).where(Trunk.login == answer.username))
        if trunk is None:
            raise Refusal("login-not-found")
        fields = {field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields}
        password = self._seal.open(trunk.sealed_password, trunk.trunk_id)
        if not digest.matches(digest.DigestAnswer(**fields), password):
            raise Refusal("wrong-password")
        account = await session.get_one(Account, trunk.account_id)
        return trunk, account


def _step(source: str, target: str, text: str) -> call_pb2.CallStep:
    return call_pb2.CallStep(at=time.time(), source=source, target=target, text=text)
