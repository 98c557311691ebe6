"""Who is attached now, and what they last said: to us, and to the other Managers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog
from google.protobuf.message import DecodeError
from teletrunk.changes import Heard, Lists
from teletrunk.metrics import ATTACHED
from teletrunk.session_proof import is_proven
from teletrunk.v1 import live_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkState

from teletrunk_manager.heartbeats import picture
from teletrunk_manager.parts import Configuration, Told
from teletrunk_manager.state import SERVICE_S

log = structlog.get_logger()

Kind = Literal["worker", "storage"]
_FACTS: Final = [
    field.name for field in pb.Heartbeat.DESCRIPTOR.fields if not field.is_repeated and field.name != "changes_only"
]
_MATTERING: Final = ("sessions", "registered_trunk_ids")  # to configurations
# Services look for a Manager that was away each second or so; a PBX that is told 403 meanwhile may not come back.
_GATHERING_S: Final = 15.0
_PATIENCE_S: Final = 1.2
_MOST_UNREAD: Final = 1_000  # messages: who reads none of what it is told is told no more


@dataclass(frozen=True)
class _Said:
    """What a heartbeat says of trunks and sessions, by their ids."""

    said: pb.Heartbeat
    registered: frozenset[str]
    states: Mapping[str, TrunkState]
    reports: Mapping[str, pb.SessionReport]

    @classmethod
    def of(cls, said: pb.Heartbeat) -> _Said:
        states = {state.trunk_id: state for state in said.trunk_states}
        reports = {report.session_id: report for report in said.sessions}
        return cls(said, frozenset(said.registered_trunk_ids), states, reports)


@dataclass(eq=False)
class Seen:
    """A service that is attached to some Manager."""

    service_id: str
    kind: Kind
    address: str
    heartbeat: pb.Heartbeat = field(default_factory=pb.Heartbeat)
    seen_at: float = field(default_factory=time.time)
    attached_at: float = field(default_factory=time.time)
    _said: _Said | None = field(default=None, init=False)

    def is_registered(self, trunk_id: str) -> bool:
        """Whether that trunk's PBX is at this Worker."""
        return trunk_id in self._said_now.registered

    def state_of(self, trunk_id: str) -> TrunkState | None:
        """How this Worker stands with a trunk whose PBX does not register."""
        return self._said_now.states.get(trunk_id)

    def has_up(self, trunk_id: str) -> bool:
        """Whether it says that such a trunk works."""
        state = self.state_of(trunk_id)
        return state is not None and state.up

    def report_of(self, session_id: str) -> pb.SessionReport | None:
        return self._said_now.reports.get(session_id)

    @property
    def _said_now(self) -> _Said:
        """All trunks are asked about when they are listed: each answer must not look at all that was said."""
        if self._said is None or self._said.said is not self.heartbeat:
            self._said = _Said.of(self.heartbeat)
        return self._said

    @property
    def draining(self) -> bool:
        return self.heartbeat.draining

    def record(self) -> bytes:
        """As other Managers read it."""
        return live_pb2.LiveService(
            service_id=self.service_id,
            kind=self.kind,
            address=self.address,
            seen_at=self.seen_at,
            heartbeat=self.heartbeat,
            attached_at=self.attached_at,
        ).SerializeToString()

    @classmethod
    def of_record(cls, record: bytes) -> Seen:
        said = live_pb2.LiveService.FromString(record)
        kind: Kind = "worker" if said.kind == "worker" else "storage"
        return cls(said.service_id, kind, said.address, said.heartbeat, said.seen_at, said.attached_at)

    def matters_like(self, other: Seen | None) -> bool:
        """Whether configurations that are made with one are right with the other."""
        return (
            other is not None
            and self.address == other.address
            and self.draining == other.draining
            and all(list(getattr(self.heartbeat, name)) == list(getattr(other.heartbeat, name)) for name in _MATTERING)
        )


@dataclass(eq=False)
class Attached(Seen):
    """One service's open stream to us. None in the outbox closes it."""

    # Tells this stream from every other one of the same service.
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    outbox: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=asyncio.Queue)
    # What it was told of its configuration, and what it has said.
    told: Told = field(default_factory=Told)
    _heard: Heard = field(default_factory=picture)
    # Its first heartbeat is how things are; what differs in the next ones is news.
    has_beaten: bool = False

    def beat(self, said: pb.Heartbeat) -> bool:
        """Returns whether anybody's configuration may be another now."""
        was_draining, changed = self.draining, self._heard.take(said)
        if changed or not self.has_beaten:
            self.heartbeat = self._heard.whole(pb.Heartbeat())  # another one: who compares has that from before
        for name in _FACTS:
            setattr(self.heartbeat, name, getattr(said, name))
        self.seen_at, self.has_beaten = time.time(), True
        if self._reads:
            self.outbox.put_nowait(pb.AttachResponse(pulse=pb.Pulse(takes_changes=True)))
        return self.draining != was_draining or not changed.isdisjoint(_MATTERING)

    def configure(self, config: Configuration, lists: Lists) -> None:
        """Sends what of the configuration the service does not have already; later, when it does not read now."""
        if self._reads:
            for response in self.told.news(config, lists):
                self.outbox.put_nowait(response)

    @property
    def _reads(self) -> bool:
        return self.outbox.qsize() < _MOST_UNREAD

    def close(self) -> None:
        self.outbox.put_nowait(None)


class Live:
    """The attached services, by id."""

    def __init__(self) -> None:
        self._gathered_at = time.monotonic() + _GATHERING_S
        self._arrival = asyncio.Event()  # another one each time
        self._here: dict[str, Attached] = {}
        self._elsewhere: dict[str, tuple[Seen, float]] = {}  # with the monotonic time until which it counts

    def attach(self, service: Attached) -> None:
        """The newest stream of a service is the one that counts; an older one is closed."""
        if old := self._here.pop(service.service_id, None):
            old.close()
        self._here[service.service_id] = service
        self._elsewhere.pop(service.service_id, None)
        self.arrived()

    async def comes(self, there: Callable[[], bool]) -> bool:
        """Whether it is so, or is soon: a Manager that has just started has not been found by everybody yet."""
        deadline = min(self._gathered_at, time.monotonic() + _PATIENCE_S)
        while not there():
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._arrival.wait()
            except TimeoutError:
                return there()
        return True

    def arrived(self) -> None:
        """Somebody has come, or said something: who waits for it looks again."""
        self._arrival.set()
        self._arrival = asyncio.Event()

    def detach(self, service: Attached) -> bool:
        """False when a newer stream has taken its place already."""
        current = self._here.get(service.service_id) is service
        if current:
            del self._here[service.service_id]
        return current

    def see(self, records: Mapping[str, bytes], now: float) -> bool:
        """What the Managers together say of their services. Returns whether configurations may be others now.

        A service that has left is said to have left. One that is only missing may have been forgotten by a state that
        lost its memory: it counts for as long as it could have gone without being shown. `now` is monotonic.
        """
        before = {name: entry[0] for name, entry in self._elsewhere.items()}
        shown = {name: seen for name, record in records.items() if record and (seen := _seen(name, record))}
        kept = {name: entry for name, entry in self._elsewhere.items() if name not in records and entry[1] > now}
        fresh = {name: (seen, now + SERVICE_S) for name, seen in shown.items()}
        self._elsewhere = {name: entry for name, entry in (kept | fresh).items() if name not in self._here}
        self.arrived()
        same = before.keys() == self._elsewhere.keys()
        return not (same and all(seen.matters_like(before[name]) for name, (seen, _) in self._elsewhere.items()))

    def close(self) -> None:
        """Ends every stream."""
        for service in self._here.values():
            service.close()

    def find(self, service_id: str) -> Seen | None:
        if here := self._here.get(service_id):
            return here
        return self._elsewhere[service_id][0] if service_id in self._elsewhere else None

    def here(self, kind: Kind | None = None) -> list[Attached]:
        """Those whose stream we hold."""
        return [service for service in self._here.values() if kind in (None, service.kind)]

    def measure(self) -> None:
        """Sets the gauges of what is attached anywhere."""
        for kind in ("worker", "storage"):
            ATTACHED.labels(kind).set(sum(service.kind == kind for service in self._everywhere()))

    def _everywhere(self) -> list[Seen]:
        return [*self._here.values(), *(seen for seen, _ in self._elsewhere.values())]

    def drop(self, service_id: str) -> None:
        """Ends the stream of a service, if it is with us."""
        if service := self._here.get(service_id):
            service.close()

    def of_kind(self, kind: Kind) -> list[Seen]:
        return [service for service in self._everywhere() if service.kind == kind]

    def place(self, session_id: str, home: str) -> Seen | None:
        """Who runs a session: any Storage of its vault that says so, else the one where it was signed in, if attached.

        One that drains is it only while no other may be.
        """
        having: list[Seen] = []
        for storage in sorted(self.of_kind("storage"), key=lambda storage: storage.draining):
            report = storage.report_of(session_id)
            if report is None or not (storage.service_id == home or is_proven(session_id, report.proof)):
                continue
            if report.state == pb.SESSION_STATE_ACTIVE:
                return storage
            having.append(storage)
        at_home = self.find(home)
        return having[0] if having and at_home is not None and at_home.draining else at_home

    def session(self, session_id: str, home: str) -> pb.SessionReport | None:
        """What is last said of a session by the Storage in its place."""
        place = self.place(session_id, home)
        return place.report_of(session_id) if place else None

    def held_back(self, session_id: str) -> pb.SessionReport | None:
        """Why those of its vault do not run a session whose Storage is gone: that of a restored vault has no other."""
        for storage in self.of_kind("storage"):
            report = storage.report_of(session_id)
            if report is not None and report.reason and is_proven(session_id, report.proof):
                return report
        return None


def _seen(service_id: str, record: bytes) -> Seen | None:
    """None for a record that makes no sense: it is one service's."""
    try:
        return Seen.of_record(record)
    except DecodeError:
        log.error("what another Manager says of a service cannot be read", id=service_id)
        return None
