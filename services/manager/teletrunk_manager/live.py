"""Who is attached now, and what they last said. In memory: one Manager."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

from teletrunk.v1 import manager_pb2 as pb

Kind = Literal["worker", "storage"]


@dataclass(eq=False)
class Attached:
    """One service's open stream. None in the outbox closes it."""

    service_id: str
    kind: Kind
    address: str
    outbox: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=asyncio.Queue)
    heartbeat: pb.Heartbeat = field(default_factory=pb.Heartbeat)
    seen_at: float = field(default_factory=time.time)
    # The configuration that was sent last.
    config: pb.AttachResponse | None = None

    def report_of(self, session_id: str) -> pb.SessionReport | None:
        return next((report for report in self.heartbeat.sessions if report.session_id == session_id), None)

    def beat(self, heartbeat: pb.Heartbeat) -> bool:
        """Returns whether the sessions are in other states than before."""
        moved = list(heartbeat.sessions) != list(self.heartbeat.sessions)
        self.heartbeat, self.seen_at = heartbeat, time.time()
        self.outbox.put_nowait(pb.AttachResponse(pulse=pb.Pulse()))
        return moved

    def configure(self, config: pb.AttachResponse) -> None:
        """Sends the configuration, unless it is what the service has already."""
        if self.config != config:
            self.config = config
            self.outbox.put_nowait(config)


class Live:
    """The attached services, by id."""

    def __init__(self) -> None:
        self._all: dict[str, Attached] = {}

    def attach(self, service: Attached) -> None:
        """The newest stream of a service is the one that counts; an older one is closed."""
        if old := self._all.pop(service.service_id, None):
            old.outbox.put_nowait(None)
        self._all[service.service_id] = service

    def detach(self, service: Attached) -> bool:
        """False when a newer stream has taken its place already."""
        current = self._all.get(service.service_id) is service
        if current:
            del self._all[service.service_id]
        return current

    def close(self) -> None:
        """Ends every stream."""
        for service in self._all.values():
            service.outbox.put_nowait(None)

    def find(self, service_id: str) -> Attached | None:
        return self._all.get(service_id)

    def of_kind(self, kind: Kind) -> list[Attached]:
        return [service for service in self._all.values() if service.kind == kind]

    def place(self, session_id: str, home: str) -> Attached | None:
        """The Storage that runs a session: any that says so, else the one where it was signed in, if attached."""
        for storage in self.of_kind("storage"):
            report = storage.report_of(session_id)
            if report is not None and report.state == pb.SESSION_STATE_ACTIVE:
                return storage
        return self._all.get(home)

    def session(self, session_id: str, home: str) -> pb.SessionReport | None:
        """What is last said of a session by the Storage in its place."""
        place = self.place(session_id, home)
        return place.report_of(session_id) if place else None
