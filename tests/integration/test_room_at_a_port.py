"""How many calls a service's gRPC port takes at a time, streams that are held open among them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teletrunk import rpc
from teletrunk.channel import TOKEN_KEY
from teletrunk.v1 import session_store_pb2 as store
from teletrunk.v1 import session_store_pb2_grpc

TOKEN = secrets.token_hex(16)
METADATA = ((TOKEN_KEY, TOKEN),)
_AT_ONCE = 128


class Holding(session_store_pb2_grpc.SessionStoreServiceServicer):
    """Streams that last until their callers leave."""

    @classmethod
    def serving(cls) -> Self:
        """Of the generated servicer's methods it has those that are called; the others answer UNIMPLEMENTED."""
        return cls()

    def __init__(self) -> None:
        self.held = 0
        self.news = asyncio.Condition()

    async def Watch(self, request: store.WatchRequest, context: Any) -> AsyncIterator[store.WatchResponse]:
        await self._count(1)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(self._count(-1))
        yield store.WatchResponse()

    async def _count(self, change: int) -> None:
        async with self.news:
            self.held += change
            self.news.notify_all()

    async def fill(self, channel: grpc.aio.Channel, calls: int) -> list[Any]:
        """Not all at once: gRPC itself drops some when a thousand wait to be taken."""
        streams: list[Any] = []
        while len(streams) < calls:
            streams += [watch(channel) for _ in range(_AT_ONCE)]
            await self.hold(self.held + _AT_ONCE)
        return streams

    async def hold(self, wanted: int) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: self.held == wanted)

    async def ListSessions(self, request: store.ListSessionsRequest, context: Any) -> store.ListSessionsResponse:
        return store.ListSessionsResponse()


def connection(port: int) -> grpc.aio.Channel:
    """Of its own: channels of one process share one otherwise."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def watch(channel: grpc.aio.Channel) -> Any:
    return session_store_pb2_grpc.SessionStoreServiceStub(channel).Watch(store.WatchRequest(), metadata=METADATA)


async def asked(channel: grpc.aio.Channel) -> grpc.StatusCode:
    try:
        await session_store_pb2_grpc.SessionStoreServiceStub(channel).ListSessions(
            store.ListSessionsRequest(), metadata=METADATA, timeout=10, wait_for_ready=True
        )
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_port_takes_so_many_calls_and_serves_on_when_some_have_ended() -> None:
    holding = Holding.serving()
    server = rpc.Server("127.0.0.1:0", rpc.Security(TOKEN))
    server.add(session_store_pb2_grpc.add_SessionStoreServiceServicer_to_server, holding)
    await server.start()
    channels = [connection(server.port) for _ in range(rpc.MOST_CALLS // rpc.MOST_CALLS_A_CONNECTION)]
    last = connection(server.port)
    try:
        streams = await holding.fill(channels[0], rpc.MOST_CALLS_A_CONNECTION)
        streams += [watch(channels[0]) for _ in range(10)]  # they wait at the caller's, and take nobody's room
        assert await asked(last) is grpc.StatusCode.OK
        for channel in channels[1:]:
            streams += await holding.fill(channel, rpc.MOST_CALLS_A_CONNECTION)
        assert holding.held == rpc.MOST_CALLS
        assert await asked(last) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await channels[1].close()
        await holding.hold(rpc.MOST_CALLS - rpc.MOST_CALLS_A_CONNECTION)
        assert await asked(last) is grpc.StatusCode.OK
    finally:
        for channel in (*channels, last):
            await channel.close()
        await server.stop(0)


async def test_who_has_no_token_holds_no_stream() -> None:
    server = rpc.Server("127.0.0.1:0", rpc.Security(TOKEN))
    await server.start()
    async with connection(server.port) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        answer = await stub.Check(request, timeout=5, wait_for_ready=True)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Watch(request, timeout=5).read()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await server.stop(0)
