"""What a Worker hears of a Storage's sessions: one stream, which is told of other sessions while it is open."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from teletrunk import rpc
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk.v1 import session_store_pb2_grpc

log = structlog.get_logger()

# The stream is not there any more, or the Storage is of the version before: by mutual TLS it refuses what it does not
# know. Then the stream begins anew.
_ANEW = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
if TYPE_CHECKING:
    # The generated stub has one class at run time; its typed form for grpc.aio exists for type checkers only.
    Stub = session_store_pb2_grpc.SessionStoreServiceAsyncStub
else:
    Stub = session_store_pb2_grpc.SessionStoreServiceStub


class Watch:
    """Of the sessions at one place."""

    def __init__(self, stub: Callable[[], Stub], address: str, on_incoming: Callable[[pb.IncomingCall], None]) -> None:
        self._stub = stub
        self._address = address
        self._on_incoming = on_incoming
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def want(self, session_ids: Collection[str]) -> None:
        """These, and no others."""
        if self._wanted != session_ids:
            self._wanted = frozenset(session_ids)
            self._changed.set()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> asyncio.Future[Any]:
        """What it returns is done when nothing is left of it."""
        tasks = [self._running] if self._running is not None else []
        for task in tasks:
            task.cancel()
        return asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._hold()
            except grpc.aio.AioRpcError as error:
                log.warning("storage watch broke", address=self._address, status=error.code().name)
                await _pause()

    async def _hold(self) -> None:
        """One stream, until it ends or is to begin anew. Raises `AioRpcError`."""
        told, watch_id = self._wanted, secrets.token_hex(16)
        tasks = [
            asyncio.create_task(self._read(pb.WatchRequest(session_ids=sorted(told), watch_id=watch_id))),
            asyncio.create_task(self._keep_telling(watch_id, told)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, request: pb.WatchRequest) -> None:
        async for response in self._stub().Watch(request, wait_for_ready=True):
            if response.WhichOneof("kind") == "incoming":
                self._on_incoming(response.incoming)
        await _pause()

    async def _keep_telling(self, watch_id: str, told: frozenset[str]) -> None:
        """What it costs is a matter of what changes. Returns when the stream is to begin anew."""
        while True:
            while told == (wanted := self._wanted):
                self._changed.clear()
                await self._changed.wait()
            request = pb.ChangeWatchRequest(watch_id=watch_id, added=wanted - told, removed=told - wanted)
            try:
                await self._stub().ChangeWatch(request, timeout=rpc.DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                if error.code() in _ANEW and rpc.refusal_of(error) is None:
                    return
                log.warning("storage was not told what to watch", address=self._address, status=error.code().name)
                await _pause()  # and the stream goes on for all others
            else:
                told = wanted


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.2, 1.0))
