"""The stream that a Storage holds to the Manager: hello, heartbeats, session states as they change; grants down."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import grpc
import structlog
from teletrunk import rpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import manager_pb2_grpc

from teletrunk_session_store.grants import Grants
from teletrunk_session_store.sessions import Sessions

log = structlog.get_logger()

_HEARTBEAT_S = 3.0


class ManagerLink:
    def __init__(
        self, address: str, security: rpc.Security, hello: pb.StorageHello, sessions: Sessions, grants: Grants
    ) -> None:
        self._address = address
        self._security = security
        self._hello = hello
        self._sessions = sessions
        self._grants = grants
        self._channel = rpc.dial(address, security)

    async def stay_attached(self) -> None:
        """Runs until cancelled; reconnects by itself, with jitter."""
        while True:
            try:
                stream = self._stub().Attach(self._beats(), wait_for_ready=True)
                async for response in stream:
                    if response.WhichOneof("kind") == "storage":
                        self._grants.take(response.storage)
            except grpc.aio.AioRpcError as error:
                log.warning("manager link broke", status=error.code().name)
            await asyncio.sleep(random.uniform(0.2, 1.0))

    async def renew(self, signing_request: bytes) -> tuple[bytes, bytes]:
        """A new certificate for our own. Raises `grpc.aio.AioRpcError`."""
        answer = await self._stub().Renew(pb.RenewRequest(signing_request=signing_request), timeout=rpc.DEADLINE_S)
        return answer.certificate, answer.authority

    def redial(self) -> None:
        """The next connection shows the new certificate; the present one lasts as long as it lasts."""
        self._channel = rpc.dial(self._address, self._security)

    async def close(self) -> None:
        await self._channel.close()

    def _stub(self) -> manager_pb2_grpc.ManagerServiceAsyncStub:
        stub: manager_pb2_grpc.ManagerServiceAsyncStub = manager_pb2_grpc.ManagerServiceStub(self._channel)
        return stub

    async def _beats(self) -> AsyncIterator[pb.AttachRequest]:
        yield pb.AttachRequest(storage=self._hello)
        while True:
            self._sessions.changed.clear()
            yield pb.AttachRequest(heartbeat=pb.Heartbeat(sessions=self._sessions.reports()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sessions.changed.wait(), _HEARTBEAT_S)
