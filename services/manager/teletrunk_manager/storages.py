"""The attached Session Storages, as the Manager calls them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from teletrunk import rpc
from teletrunk.identity import Identity
from teletrunk.v1 import session_store_pb2_grpc

from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import NotNow

if TYPE_CHECKING:
    Stub = session_store_pb2_grpc.SessionStoreServiceAsyncStub

DEADLINE_S = 45.0  # Telegram's own answers to a sign-in take their time


class Storages:
    def __init__(self, live: Live, security: rpc.Security) -> None:
        self._live = live
        self._security = security

    def choose(self, wanted: str) -> str:
        """The wanted Storage, or the one with the fewest sessions. Raises `NotNow`."""
        attached = self._live.of_kind("storage")
        if not attached:
            raise NotNow("no Session Storage is attached: start one first (teletrunk up)")
        if not wanted:
            return min(attached, key=lambda storage: len(storage.heartbeat.sessions)).service_id
        if wanted not in (storage.service_id for storage in attached):
            raise NotNow(f"the Session Storage {wanted} is not attached: teletrunk storage list shows those that are")
        return wanted

    def is_attached(self, storage_id: str) -> bool:
        return self._live.find(storage_id) is not None

    @contextlib.asynccontextmanager
    async def dial(self, storage_id: str) -> AsyncIterator[Stub]:
        """Raises `NotNow` when it is not attached."""
        attached = self._live.find(storage_id)
        if attached is None:
            raise NotNow(f"the Session Storage {storage_id} is not attached: start it again")
        async with rpc.dial(attached.address, self._security, Identity("storage", storage_id)) as channel:
            yield session_store_pb2_grpc.SessionStoreServiceStub(channel)
