"""A Manager with a Worker and a Storage attached, as the tests of the control plane see it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import (
    CODE,
    Attachment,
    ManagerProcess,
    StorageServer,
    Wire,
    answered,
    worker_hello,
)


class World:
    """A Manager with a Worker and a Storage attached."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.process = ManagerProcess(data, **settings)
        self.storage_server = StorageServer.serving()

    async def start(self) -> None:
        await asyncio.gather(self.process.start(), self.storage_server.server.start())
        await self.attach()

    async def attach(self) -> None:
        self.wire = Wire(self.process.address)
        self.worker = Attachment(self.wire, worker_hello())
        self.storage = Attachment(self.wire, self.storage_server.hello())
        await self.worker.beat()
        await self.report(pb.SESSION_STATE_UNSPECIFIED)

    async def restart(self) -> None:
        assert await self.process.stop() == 0
        await self.wire.channel.close()
        await self.process.start()
        await self.attach()

    async def stop(self) -> None:
        await self.process.stop()
        await self.wire.channel.close()
        await self.storage_server.server.stop(0)

    async def report(self, state: pb.SessionState.ValueType, reason: str = "", session_id: str = "storage-1/1") -> None:
        reports = [pb.SessionReport(session_id=session_id, state=state, reason=reason)] if state else []
        await self.storage.beat(pb.Heartbeat(sessions=reports))

    async def add_account(self, phone: str = "+491711234567") -> admin.Account:
        started = await self.wire.admin.StartAddAccount(admin.StartAddAccountRequest(phone=phone))
        request = admin.SubmitAccountCodeRequest(sign_in_id=started.sign_in_id, code=CODE)
        account: admin.Account = (await self.wire.admin.SubmitAccountCode(request)).account
        await self.report(pb.SESSION_STATE_ACTIVE, session_id=account.session_id)
        return account

    async def add_trunk(self, login: str = "", priority: int = 0) -> admin.AddTrunkResponse:
        request = admin.AddTrunkRequest(account="@ann", login=login, priority=priority)
        answer: admin.AddTrunkResponse = await self.wire.admin.AddTrunk(request)
        return answer

    async def register(self, login: str, password: str, algorithm: str = "SHA-256") -> pb.RegisterResponse:
        digest = answered(login, password, algorithm=algorithm)
        answer: pb.RegisterResponse = await self.wire.manager.Register(pb.RegisterRequest(digest=digest))
        return answer

    async def rings(self, session_id: str) -> list[str]:
        """The logins of the trunks that a Telegram call to this session is offered."""
        caller = call_pb2.Peer(user_id=4711, first_name="Caller")
        request = pb.RouteIncomingRequest(call_id="in", session_id=session_id, caller=caller)
        answer = await self.wire.manager.RouteIncoming(request)
        return [target.login for tier in answer.tiers for target in tier.targets]

    async def route(
        self, login: str, password: str, called: str = "+491700000001", *, call_id: str = "c", worker_id: str = ""
    ) -> pb.RouteCallResponse:
        request = pb.RouteCallRequest(
            call_id=call_id,
            worker_id=worker_id,
            digest=answered(login, password, "INVITE"),
            called=called,
            registered=True,
        )
        answer: pb.RouteCallResponse = await self.wire.manager.RouteCall(request)
        return answer
