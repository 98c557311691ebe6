"""The stream that a Storage holds to the Manager: hello, heartbeats, session states as they change."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import grpc
import structlog
from teletrunk import __version__, rpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import manager_pb2_grpc

from teletrunk_session_store.sessions import Sessions

log = structlog.get_logger()

_HEARTBEAT_S = 3.0


async def stay_attached(
    address: str, token: str, storage_id: str, name: str, own_address: str, sessions: Sessions
) -> None:
    """Runs until cancelled; reconnects by itself."""
    hello = pb.StorageHello(storage_id=storage_id, name=name, version=__version__, address=own_address)
    async with rpc.dial(address, token) as channel:
        stub = manager_pb2_grpc.ManagerServiceStub(channel)
        while True:
            try:
                stream = stub.Attach(_beats(hello, sessions), wait_for_ready=True)
                async for _ in stream:
                    pass
            except grpc.aio.AioRpcError as error:
                log.warning("manager link broke", status=error.code().name)
            await asyncio.sleep(random.uniform(0.2, 1.0))


async def _beats(hello: pb.StorageHello, sessions: Sessions) -> AsyncIterator[pb.AttachRequest]:
    yield pb.AttachRequest(storage=hello)
    while True:
        sessions.changed.clear()
        yield pb.AttachRequest(heartbeat=pb.Heartbeat(sessions=sessions.reports()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sessions.changed.wait(), _HEARTBEAT_S)
