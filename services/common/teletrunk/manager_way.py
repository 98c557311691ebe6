"""A service's way to the Manager, or to one of several: whichever answers serves it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import structlog

from teletrunk import rpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import manager_pb2_grpc

if TYPE_CHECKING:
    # The generated stub has one class at run time; its typed form for grpc.aio exists for type checkers only.
    Stub = manager_pb2_grpc.ManagerServiceAsyncStub
else:
    Stub = manager_pb2_grpc.ManagerServiceStub

log = structlog.get_logger()

_FIRST_WORD_S = 5.0
_SILENCE_S = 8.0  # each heartbeat, one in three seconds, gets a pulse
# Not taken as what it is, or so often: each attempt costs the Manager a look.
_REFUSED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED)
_REFUSED_TIMES = 5


async def _nothing(status: grpc.StatusCode) -> None:
    """Nobody mends the link."""


class ManagerWay:
    """`addresses` is one host:port, or several with commas between. They are tried in an order of our own,
    so that the services spread over the Managers."""

    def __init__(self, addresses: str, security: rpc.Security) -> None:
        self._security = security
        self._addresses = addresses.split(",")
        random.shuffle(self._addresses)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._told = ""
        # Called with the reason whenever the link has broken, before it is made anew.
        self.on_break: Callable[[grpc.StatusCode], Awaitable[None]] = _nothing

    @property
    def has_others(self) -> bool:
        return len(self._addresses) > 1

    @property
    def stub(self) -> Stub:
        address = self.address
        if address not in self._channels:
            self._channels[address] = rpc.dial(address, self._security)
        return Stub(self._channels[address])

    @property
    def address(self) -> str:
        """Of the Manager that we turn to at present."""
        return self._addresses[0]

    def turn_away(self, failed: str) -> None:
        """This one does not answer: the next one is asked from now on, unless somebody else has turned away already."""
        if self.address == failed:
            self._addresses.append(self._addresses.pop(0))

    def redial(self) -> None:
        """The next connection shows the certificate that we have now; the present one lasts as long as it lasts."""
        self._channels = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def renew(self, signing_request: bytes) -> tuple[bytes, bytes]:
        """A new certificate for our own. Raises `grpc.aio.AioRpcError`."""
        answer = await self.stub.Renew(pb.RenewRequest(signing_request=signing_request), timeout=rpc.DEADLINE_S)
        return answer.certificate, answer.authority

    async def attached(self, beats: Callable[[], AsyncIterator[pb.AttachRequest]]) -> AsyncIterator[pb.AttachResponse]:
        """What the Manager says, without end: a link that breaks or falls silent is made anew, with jitter."""
        while True:
            address, status = self.address, grpc.StatusCode.UNAVAILABLE
            try:
                async for response in self._one_stream(beats()):
                    self._told = ""
                    yield response
            except grpc.aio.AioRpcError as error:
                status = error.code()
                self._say(status, error.details() or "")
            except TimeoutError:
                log.warning("manager is silent", address=address)
            except asyncio.CancelledError:
                # grpc cancels the stream when what it asks for beats fails; only our own end is to be passed on.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                log.warning("manager link was given up", address=address)
            self.turn_away(address)
            await self.on_break(status)
            await asyncio.sleep(random.uniform(0.2, 1.0) * (_REFUSED_TIMES if status in _REFUSED else 1))

    def _say(self, status: grpc.StatusCode, details: str) -> None:
        """What somebody has to set right is said once, until it is or something else is wrong."""
        if status not in _REFUSED:
            log.warning("manager link broke", status=status.name)
        elif self._told != details:
            log.error("the manager does not take this service", reason=details)
        self._told = details

    async def _one_stream(self, beats: AsyncIterator[pb.AttachRequest]) -> AsyncIterator[pb.AttachResponse]:
        stream = self.stub.Attach(beats, wait_for_ready=True)
        patience = _FIRST_WORD_S
        try:
            while True:
                async with asyncio.timeout(patience):
                    response = await stream.read()
                if not isinstance(response, pb.AttachResponse):
                    return
                yield response
                patience = _SILENCE_S
        finally:
            stream.cancel()
