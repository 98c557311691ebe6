"""The Worker's link to the Manager: one stream held open, and questions with deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2, manager_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_worker.edge.digest import Credentials
from teletrunk_worker.links.spool import Spool

log = structlog.get_logger()

_HEARTBEAT_S = 3.0
_QUESTION_S = 4.5  # longer than the Manager gives its database
_LAST_WORDS_S = 3.0
Answer = TypeVar("Answer")


class ManagerLink:
    """Asks, reports, and learns the configuration."""

    def __init__(self, address: str, security: rpc.Security, hello: pb.WorkerHello, spool: Spool) -> None:
        self._address = address
        self._security = security
        self.redial()
        self._hello = hello
        self._spool = spool
        self._spooled = asyncio.Event()
        self.on_config: Callable[[pb.WorkerConfig], None] = lambda config: None
        self.load: Callable[[], pb.Heartbeat] = pb.Heartbeat

    def redial(self) -> None:
        """The next connection shows the certificate that we have now; the present one lasts as long as it lasts."""
        self._channel = rpc.dial(self._address, self._security)
        self._stub = manager_pb2_grpc.ManagerServiceStub(self._channel)

    async def renew(self, signing_request: bytes) -> tuple[bytes, bytes]:
        """A new certificate for our own. Raises `grpc.aio.AioRpcError`."""
        answer = await self._stub.Renew(pb.RenewRequest(signing_request=signing_request), timeout=rpc.DEADLINE_S)
        return answer.certificate, answer.authority

    async def close(self) -> None:
        await self._channel.close()

    async def stay_attached(self) -> None:
        """Runs until cancelled; reconnects by itself, with jitter."""
        while True:
            try:
                async for response in self._stub.Attach(self._beats(), wait_for_ready=True):
                    if response.WhichOneof("kind") == "worker":
                        self.on_config(response.worker)
                    self._spooled.set()  # the Manager is there: records that waited can go
            except grpc.aio.AioRpcError as error:
                log.warning("manager link broke", status=error.code().name)
            await asyncio.sleep(random.uniform(0.2, 1.0))

    async def _beats(self) -> AsyncIterator[pb.AttachRequest]:
        yield pb.AttachRequest(worker=self._hello)
        while True:
            self._spool.touch()
            yield pb.AttachRequest(heartbeat=self.load())
            await asyncio.sleep(_HEARTBEAT_S)

    # Questions.

    async def register(self, credentials: Credentials, source: str) -> pb.RegisterResponse:
        """Raises `Refusal`; manager-unreachable when the link is down or silent."""
        request = pb.RegisterRequest(
            worker_id=self._hello.worker_id, digest=pb.Digest(**vars(credentials)), source_address=source
        )
        return await _asked(self._stub.Register(request, timeout=_QUESTION_S))

    async def route_call(
        self, call_id: str, credentials: Credentials, source: str, called: str
    ) -> pb.RouteCallResponse:
        request = pb.RouteCallRequest(
            call_id=call_id,
            worker_id=self._hello.worker_id,
            digest=pb.Digest(**vars(credentials)),
            source_address=source,
            called=called,
        )
        return await _asked(self._stub.RouteCall(request, timeout=_QUESTION_S))

    async def route_incoming(self, call_id: str, session_id: str, caller: call_pb2.Peer) -> pb.RouteIncomingResponse:
        request = pb.RouteIncomingRequest(
            call_id=call_id, worker_id=self._hello.worker_id, session_id=session_id, caller=caller
        )
        return await _asked(self._stub.RouteIncoming(request, timeout=_QUESTION_S))

    # Records.

    def note(self, record: call_pb2.CallRecord) -> None:
        """A call that begins, or got further: what is known so far outlives us."""
        self._spool.note(record)

    def report(self, record: call_pb2.CallRecord) -> None:
        """Puts the record on disk first, so that no outage loses it."""
        self._spool.end(record)
        self._spooled.set()

    async def deliver_records(self) -> None:
        """Sends what lies in the spool until cancelled. The Manager stores each call once."""
        while True:
            await self._spooled.wait()
            self._spooled.clear()
            await self._deliver()

    async def deliver_last_records(self) -> None:
        """Before we leave. What cannot be delivered waits for our successor."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._deliver()

    async def _deliver(self) -> None:
        for record in self._spool.waiting():
            try:
                await self._stub.ReportCall(pb.ReportCallRequest(record=record), timeout=rpc.DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                log.warning("record waits", call_id=record.call_id, status=error.code().name)
                return  # the next sign of the Manager's life tries again
            self._spool.delivered(record)


async def _asked(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        refusal = rpc.refusal_of(error)
        if refusal is None:
            with contextlib.suppress(Exception):
                log.warning("manager does not answer", status=error.code().name, details=error.details())
        raise refusal or Refusal("manager-unreachable") from None
