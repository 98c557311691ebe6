"""Who is attached now, and what they last said. In memory: one Manager."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from teletrunk.v1 import manager_pb2 as pb


@dataclass
class Attached:
    """One service's open stream."""

    service_id: str
    kind: str
    address: str
    outbox: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=asyncio.Queue)
    heartbeat: pb.Heartbeat = field(default_factory=pb.Heartbeat)
    seen: float = field(default_factory=time.monotonic)


class Live:
    """The attached services, by id."""

    def __init__(self) -> None:
        self._all: dict[str, Attached] = {}

    def attach(self, service: Attached) -> None:
        """The newest stream of a service is the one that counts; an older one is closed."""
        if old := self._all.get(service.service_id):
            old.outbox.put_nowait(None)
        self._all[service.service_id] = service

    def detach(self, service: Attached) -> None:
        if self._all.get(service.service_id) is service:
            del self._all[service.service_id]

    def find(self, service_id: str) -> Attached | None:
        return self._all.get(service_id)

    def of_kind(self, kind: str) -> list[Attached]:
        return [service for service in self._all.values() if service.kind == kind]

    def session(self, storage_id: str, session_id: str) -> pb.SessionReport | None:
        """What the Storage last said of a session; None when it is not attached or says nothing."""
        storage = self._all.get(storage_id)
        if storage is None:
            return None
        return next((s for s in storage.heartbeat.sessions if s.session_id == session_id), None)
