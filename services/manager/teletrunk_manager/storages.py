"""The attached Session Storages, as the Manager calls them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teletrunk import rpc
from teletrunk.identity import Identity
from teletrunk.remedies import LIST_STORAGES, Shows
from teletrunk.v1 import session_store_pb2_grpc

from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import NotNow

if TYPE_CHECKING:
    Stub = session_store_pb2_grpc.SessionStoreServiceAsyncStub

_REACH_S = 3.0  # shorter than a service waits for the Manager's first word
DEADLINE_S = 45.0  # Telegram's own answers to a sign-in take their time


class Storages:
    def __init__(self, live: Live, security: rpc.Security) -> None:
        self._live = live
        self._security = security

    def choose(self, wanted: str) -> str:
        """The wanted Storage, or the one with the fewest sessions; none that drains. Raises `NotNow`."""
        attached = self._live.of_kind("storage")
        if not attached:
            raise NotNow("no Session Storage is attached: start one first (teletrunk up)")
        if wanted and wanted not in (storage.service_id for storage in attached):
            raise NotNow(f"the Session Storage {wanted} is not attached: ", Shows(LIST_STORAGES, "those that are"))
        eligible = [s for s in attached if not s.draining and wanted in ("", s.service_id)]
        if not eligible:
            raise NotNow(f"{'that' if wanted else 'every'} Session Storage is about to end: try again in a minute")
        return min(eligible, key=lambda storage: len(storage.heartbeat.sessions)).service_id

    def is_attached(self, storage_id: str) -> bool:
        return self._live.find(storage_id) is not None

    async def require_reachable(self, storage_id: str, address: str) -> None:
        """Raises `NotNow` when nobody answers there with this Storage's certificate."""
        try:
            async with rpc.dial(address, self._security, Identity("storage", storage_id)) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=_REACH_S)
        except grpc.aio.AioRpcError:
            raise NotNow(
                f"the Manager cannot reach this Session Storage at {address}: set TELETRUNK_STORAGE_ADDRESS to an "
                "address of its machine that others reach, or TELETRUNK_PUBLIC_STORAGE_ADDRESS when they go another way"
            ) from None

    @contextlib.asynccontextmanager
    async def dial(self, storage_id: str) -> AsyncIterator[Stub]:
        """Raises `NotNow` when it is not attached."""
        attached = self._live.find(storage_id)
        if attached is None:
            raise NotNow(f"the Session Storage {storage_id} is not attached: start it again")
        async with rpc.dial(attached.address, self._security, Identity("storage", storage_id)) as channel:
            yield session_store_pb2_grpc.SessionStoreServiceStub(channel)
