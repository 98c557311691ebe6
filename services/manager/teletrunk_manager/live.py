"""Who is attached now, and what they last said: to us, and to the other Managers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog
from google.protobuf.message import DecodeError
from teletrunk.changes import HEARTBEAT, Change, Heard, Lists, joined, put
from teletrunk.metrics import ATTACHED
from teletrunk.session_proof import is_proven
from teletrunk.v1 import live_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkState

from teletrunk_manager.heartbeats import picture
from teletrunk_manager.parts import Configuration, Told
from teletrunk_manager.state import SERVICE_S, Line, Mark, Telling

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
    # All that its heartbeats have said together, if it has come by them.
    _heard: Heard = field(default_factory=picture)
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
        return self._record(self.heartbeat)

    def record_of(self, change: Change) -> bytes:
        """What has changed in it."""
        said = pb.Heartbeat(changes_only=True)
        _set_facts(said, self.heartbeat)
        put(change, said)
        return self._record(said)

    def _record(self, heartbeat: pb.Heartbeat) -> bytes:
        return live_pb2.LiveService(
            service_id=self.service_id,
            kind=self.kind,
            address=self.address,
            seen_at=self.seen_at,
            heartbeat=heartbeat,
            attached_at=self.attached_at,
        ).SerializeToString()

    @classmethod
    def of_records(cls, records: Sequence[bytes], before: Seen | None) -> tuple[Seen, bool]:
        """Of a whole record and its changes, or of changes of what it was `before`. Returns whether configurations that
        were made before may be wrong now."""
        parts = [live_pb2.LiveService.FromString(record) for record in records]
        said, heartbeat = parts[-1], joined([part.heartbeat for part in parts], HEARTBEAT)
        was = (before.address, before.draining) if before is not None else None
        seen = before or cls(said.service_id, "worker" if said.kind == "worker" else "storage", said.address)
        seen.address, seen.seen_at, seen.attached_at = said.address, said.seen_at, said.attached_at
        moved = seen.hear(heartbeat).names
        return seen, was != (seen.address, seen.draining) or not moved.isdisjoint(_MATTERING)

    def hear(self, said: pb.Heartbeat) -> Change:
        change = self._heard.take(said)
        if change:
            self.heartbeat = self._heard.whole(pb.Heartbeat())  # another one: who compares has that from before
        _set_facts(self.heartbeat, said)
        return change


@dataclass(eq=False)
class Attached(Seen):
    """One service's open stream to us. None in the outbox closes it."""

    # Tells this stream from every other one of the same service.
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    outbox: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=asyncio.Queue)
    # What it was told of its configuration.
    told: Told = field(default_factory=Told)
    # Its first heartbeat is how things are; what differs in the next ones is news.
    has_beaten: bool = False
    # Those that it has named and may name.
    lines: list[Line] = field(default_factory=list)

    def beat(self, said: pb.Heartbeat) -> Beat:
        facts, was_draining = _facts(self.heartbeat), self.draining
        change = self.hear(said)
        self.seen_at, self.has_beaten = time.time(), True
        if self._reads:
            self.outbox.put_nowait(pb.AttachResponse(pulse=pb.Pulse(takes_changes=True)))
        moved = self.draining != was_draining or not change.names.isdisjoint(_MATTERING)
        record = self.record_of(change) if change or facts != _facts(self.heartbeat) else b""
        return Beat(moved, "lines" in change.names, record)

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


@dataclass(frozen=True)
class Beat:
    """What a heartbeat has changed."""

    moved: bool  # anybody's configuration may be another now
    has_other_lines: bool
    record: bytes  # for other Managers; empty: nothing


class Live:
    """The attached services, by id."""

    def __init__(self) -> None:
        self._gathered_at = time.monotonic() + _GATHERING_S
        self._arrival = asyncio.Event()  # another one each time
        self._here: dict[str, Attached] = {}
        self._elsewhere: dict[str, _Elsewhere] = {}

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

    def see(self, marks: Mapping[str, Mark], now: float) -> bool:
        """Who is attached to the Managers together. Returns whether configurations may be others now.

        A service that has left is said to have left. One that is only missing may have been forgotten by a state that
        lost its memory: it counts for as long as it could have gone without being shown. `now` is monotonic.
        """
        before = len(self._elsewhere)
        for name, mark in marks.items():
            if entry := self._elsewhere.get(name):
                entry.until = 0.0 if mark.left else now + SERVICE_S
                entry.seen.seen_at = max(entry.seen.seen_at, mark.seen_at)
        self._elsewhere = {name: entry for name, entry in self._elsewhere.items() if entry.until > now}
        self.arrived()
        return len(self._elsewhere) < before

    def unheard(self, marks: Mapping[str, Mark]) -> dict[str, Mark | None]:
        """The services at other Managers of which something is new, with what we know of each."""
        found = {}
        for name, mark in marks.items():
            known = self._elsewhere[name].mark if name in self._elsewhere else None
            is_new = known is None or not mark.stamp or (known.stamp, known.count) != (mark.stamp, mark.count)
            if is_new and not mark.left and name not in self._here:
                found[name] = known
        return found

    def hear(self, service_id: str, telling: Telling, now: float) -> bool:
        """Returns whether configurations may be others now. `now` is monotonic."""
        if telling.mark.left or not telling.parts or service_id in self._here:
            return False
        entry = self._elsewhere.pop(service_id, None)
        if entry is None and not telling.afresh:
            return False  # it has been here meanwhile: it is read whole next time
        try:
            seen, moved = Seen.of_records(telling.parts, entry.seen if entry else None)
        except DecodeError:  # it is one service's
            log.error("what another Manager says of a service cannot be read", id=service_id)
            return entry is not None
        self._elsewhere[service_id] = _Elsewhere(seen, telling.mark, now + SERVICE_S)
        self.arrived()
        return moved

    def close(self) -> None:
        """Ends every stream."""
        for service in self._here.values():
            service.close()

    def find(self, service_id: str) -> Seen | None:
        if here := self._here.get(service_id):
            return here
        return self._elsewhere[service_id].seen if service_id in self._elsewhere else None

    def here(self, kind: Kind | None = None) -> list[Attached]:
        """Those whose stream we hold."""
        return [service for service in self._here.values() if kind in (None, service.kind)]

    def measure(self) -> None:
        """Sets the gauges of what is attached anywhere."""
        for kind in ("worker", "storage"):
            ATTACHED.labels(kind).set(sum(service.kind == kind for service in self._everywhere()))

    def _everywhere(self) -> list[Seen]:
        return [*self._here.values(), *(entry.seen for entry in self._elsewhere.values())]

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


@dataclass
class _Elsewhere:
    """What is known of a service at another Manager, how far, and until which monotonic time it counts."""

    seen: Seen
    mark: Mark
    until: float


def _facts(heartbeat: pb.Heartbeat) -> list[object]:
    return [getattr(heartbeat, name) for name in _FACTS]


def _set_facts(heartbeat: pb.Heartbeat, said: pb.Heartbeat) -> None:
    for name in _FACTS:
        setattr(heartbeat, name, getattr(said, name))
