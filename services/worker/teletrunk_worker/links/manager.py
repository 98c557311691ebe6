"""The Worker's link to the Manager: one stream held open, and questions with deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from teletrunk import rpc
from teletrunk.changes import WORKERS, Beats, Heard, Lists
from teletrunk.channel import LARGEST_MESSAGE
from teletrunk.errors import Refusal
from teletrunk.manager_way import ManagerWay
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_worker.links.journal import Journal
from teletrunk_worker.refused_registrations import RefusedRegistrations
from teletrunk_worker.sip.auth import Credentials

log = structlog.get_logger()

_HEARTBEAT_S = 3.0
_QUESTION_S = 4.5  # longer than the Manager gives its database
_LAST_WORDS_S = 3.0
_CHANGE_OVER_S = 1.0  # behind one address there may be several Managers, of which one has just ended
_AGAIN_S = 0.1
_AT_ONCE = 100  # records that are read from the disk together
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Answer = TypeVar("Answer")


class ManagerLink:
    """Asks, reports, and learns the configuration."""

    def __init__(self, addresses: str, security: rpc.Security, hello: pb.WorkerHello, journal: Journal) -> None:
        self.way = ManagerWay(addresses, security)
        self._hello = hello
        self._journal = journal
        self._spooled = asyncio.Event()
        self._woken = asyncio.Event()
        self._has_news = False
        self._answers: list[pb.BindingsAnswer] = []
        self._beats = Beats()
        self._config = Heard(WORKERS)
        # With what is said now, and the lists as they are with it.
        self.on_config: Callable[[pb.WorkerConfig, Mapping[str, Mapping[str, Any]]], None] = lambda said, lists: None
        self.on_wish: Callable[[pb.CallWish], None] = lambda wish: None
        self.load: Callable[[], tuple[pb.Heartbeat, Lists]] = lambda: (pb.Heartbeat(), {})
        self.new_bans: Callable[[], list[pb.Ban]] = list
        self.refused_registrations = RefusedRegistrations()
        self.bindings_of: Callable[[str], list[pb.Binding]] = lambda trunk_id: []

    async def stay_attached(self) -> None:
        """Runs until cancelled; reconnects by itself."""
        async for response in self.way.attached(self._said):
            if response.WhichOneof("kind") == "worker":
                self._config.take(response.worker)
                self.on_config(response.worker, self._config.lists)
            elif response.WhichOneof("kind") == "pulse":
                self._beats.answered(response.pulse)
            elif response.WhichOneof("kind") == "wish":
                self.on_wish(response.wish)
            elif response.WhichOneof("kind") == "bindings_question":
                self._answer(response.bindings_question)
            self._spooled.set()  # the Manager is there: records that waited can go

    def has_news(self) -> None:
        """The next heartbeat goes out now."""
        self._has_news = True
        self._woken.set()

    def _answer(self, question: pb.BindingsQuestion) -> None:
        bindings = self.bindings_of(question.trunk_id)
        self._answers.append(pb.BindingsAnswer(question_id=question.question_id, bindings=bindings))
        self._woken.set()

    async def _said(self) -> AsyncIterator[pb.AttachRequest]:
        beats = self._beats = Beats()
        self._config = Heard(WORKERS)
        yield pb.AttachRequest(worker=self._hello)
        while beats is self._beats:  # gRPC asks on for a while after a stream's end: what it took, the next would lack
            self._has_news = False
            yield pb.AttachRequest(heartbeat=beats.next(*self.load()))
            for ban in self.new_bans():  # told until it comes back with the configuration
                yield pb.AttachRequest(banned=ban)
            for refused in self.refused_registrations.taken():
                yield pb.AttachRequest(refused=refused)
            next_at = time.monotonic() + _HEARTBEAT_S
            while not self._has_news and time.monotonic() < next_at and await self._is_woken(next_at):
                while self._answers and beats is self._beats:  # each costs no heartbeat
                    yield pb.AttachRequest(bindings=self._answers.pop(0))

    async def _is_woken(self, next_at: float) -> bool:
        """False when it is time for the next heartbeat."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(next_at - time.monotonic()):
                await self._woken.wait()
                self._woken.clear()
                return True
        return False

    # Questions.

    async def register(self, credentials: Credentials, source: str) -> pb.RegisterResponse:
        """Raises `Refusal`; manager-unreachable when the link is down or silent."""
        request = pb.RegisterRequest(
            worker_id=self._hello.worker_id, digest=pb.Digest(**vars(credentials)), source_address=source
        )
        return await self._ask(lambda: self.way.stub.Register(request, timeout=_QUESTION_S))

    async def route_call(
        self,
        call_id: str,
        credentials: Credentials,
        source: str,
        called: str,
        *,
        registered: bool,
        trunk_id: str = "",
    ) -> pb.RouteCallResponse:
        """`trunk_id` in place of the credentials: the PBX is known by where it is."""
        request = pb.RouteCallRequest(
            call_id=call_id,
            worker_id=self._hello.worker_id,
            digest=pb.Digest(**vars(credentials)),
            source_address=source,
            called=called,
            registered=registered,
            trunk_id=trunk_id,
        )
        return await self._ask(lambda: self.way.stub.RouteCall(request, timeout=_QUESTION_S))

    async def route_incoming(self, call_id: str, session_id: str, caller: call_pb2.Peer) -> pb.RouteIncomingResponse:
        request = pb.RouteIncomingRequest(
            call_id=call_id, worker_id=self._hello.worker_id, session_id=session_id, caller=caller
        )
        return await self._ask(lambda: self.way.stub.RouteIncoming(request, timeout=_QUESTION_S))

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks again for a moment when no Manager is there: another one, or whichever a shared address leads to then.
        It may be asked more than once: questions change nothing but a call's line, which is taken by the call's id."""
        until = time.monotonic() + _CHANGE_OVER_S
        while True:
            asked = self.way.address
            try:
                return await question()
            except grpc.aio.AioRpcError as error:
                is_gone = error.code() in _GONE and rpc.refusal_of(error) is None
                if is_gone and self.way.has_others:
                    self.way.turn_away(asked)
                has_waited = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or time.monotonic() > until
                if not is_gone or has_waited:
                    return _refused(error)
            await asyncio.sleep(_AGAIN_S)

    # Records.

    def note(self, record: call_pb2.CallRecord) -> None:
        """A call that begins, or got further: what is known so far outlives us."""
        self._journal.note(record)

    def report(self, record: call_pb2.CallRecord) -> None:
        """Puts the record on disk first, so that no outage loses it."""
        self._journal.end(record).add_done_callback(lambda _: self._spooled.set())

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
        while records := await self._journal.waiting(_AT_ONCE):
            some_wait = False
            for record in records:
                status = await self._delivered(record)
                if status in _GONE:
                    return  # the next sign of the Manager's life tries again
                some_wait |= status is not None  # one that the database chokes on holds up no other
            if some_wait:
                return

    async def _delivered(self, record: call_pb2.CallRecord) -> grpc.StatusCode | None:
        """Why it waits; None when it has gone."""
        try:
            await self.way.stub.ReportCall(pb.ReportCallRequest(record=record), timeout=rpc.DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            if not _is_for_ever(error.code(), record):
                log.warning("record waits", **of_call(record), status=error.code().name)
                return error.code()
            log.error("record refused", **of_call(record), details=error.details())
            await self._journal.put_aside(record)
        else:
            await self._journal.delivered(record)
        return None


def _is_for_ever(status: grpc.StatusCode, record: call_pb2.CallRecord) -> bool:
    """gRPC has one status for a message that is too large, and for a port that has no room now."""
    too_large = record.ByteSize() > LARGEST_MESSAGE[1] // 2
    return status is grpc.StatusCode.INVALID_ARGUMENT or (status is grpc.StatusCode.RESOURCE_EXHAUSTED and too_large)


def _refused(error: grpc.aio.AioRpcError) -> NoReturn:
    refusal = rpc.refusal_of(error)
    if refusal is None:
        log.warning("manager does not answer", status=error.code().name, details=error.details())
    raise refusal or Refusal("manager-unreachable") from None
