"""The stream that a Storage holds to the Manager: hello, heartbeats, session states as they change; grants down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from teletrunk import rpc
from teletrunk.changes import STORAGES, Beats, Heard
from teletrunk.manager_way import ManagerWay
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_session_store.grants import Grants, by_session
from teletrunk_session_store.sessions import Sessions

_HEARTBEAT_S = 3.0


class ManagerLink:
    def __init__(
        self, addresses: str, security: rpc.Security, hello: pb.StorageHello, sessions: Sessions, grants: Grants
    ) -> None:
        self.way = ManagerWay(addresses, security)
        self._hello = hello
        self._sessions = sessions
        self._grants = grants
        self._beats = Beats()
        self._heard = Heard(STORAGES)

    async def stay_attached(self) -> None:
        """Runs until cancelled; reconnects by itself."""
        async for response in self.way.attached(self._said):
            if response.WhichOneof("kind") == "storage":
                self._take(response.storage)
            elif response.WhichOneof("kind") == "pulse":
                self._beats.answered(response.pulse)

    def _take(self, config: pb.StorageConfig) -> None:
        self._heard.take(by_session(config) if config.grants else config)
        if not config.more_follows:
            self._grants.take(self._heard.lists["worker_ids"], self._heard.lists["sessions"])

    async def _said(self) -> AsyncIterator[pb.AttachRequest]:
        beats = self._beats = Beats()
        self._heard = Heard(STORAGES)
        yield pb.AttachRequest(storage=self._hello)
        while beats is self._beats:  # gRPC asks on for a while after a stream's end: what it took, the next would lack
            self._sessions.changed.clear()
            heartbeat, lists = pb.Heartbeat(draining=self._sessions.leaving), {"sessions": self._sessions.reports()}
            yield pb.AttachRequest(heartbeat=beats.next(heartbeat, lists))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._sessions.changed.wait()
