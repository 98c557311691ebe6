"""What stands around a call in a Worker, as far as its ports use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.call.record import Recorder
from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.sound import SoundTerms

NARROW_RATE: Final = 8000  # samples a second


class Host(Protocol):
    """A process with calls in it."""

    port: int
    rate: int

    def send(self, message: Message, descriptor: int | None = None) -> None: ...


AHost = TypeVar("AHost", bound=Host)


class Hosts(Protocol[AHost]):
    """The processes of one kind."""

    def expect(self) -> None:
        """A call begins that will want a place in a while."""
        ...

    async def place(
        self, call: str, listener: Callable[[Message], None], besides: Sequence[AHost] = (), *, wide: bool = False
    ) -> AHost:
        """One that has room, and none of `besides`; for wide-band sound if it can be. Raises `Refusal`."""
        ...

    def release(self, host: AHost, call: str) -> None: ...


class SipEdge(Protocol):
    """The public SIP port, through which every leg's dialog goes."""

    def speak_for_dead_host(self, call_id: str, leg: str, refusal: Refusal) -> None: ...

    def leg_is_over(self, call_id: str, leg: str, *, elsewhere: bool = False) -> None: ...

    def peer_address(self, call_id: str, leg: str) -> str:
        """Where the leg's signalling comes from; empty when there is none."""
        ...

    def offered_telephone_event(self, call_id: str, leg: str) -> bool: ...

    def cause_of(self, call_id: str, leg: str) -> int:
        """Q.850's, that the peer has hung up with; 0 when it has named none."""
        ...

    def refused_answer(self, call_id: str, leg: str) -> Refusal | None:
        """Why the peer's answer was not let through to the host, if it was not."""
        ...

    def sound_of(self, trunk_id: str) -> SoundTerms: ...

    def objection_to(self, uri: str) -> Refusal | None:
        """Why a target may not be rung on the way that it is reached by."""
        ...


class Stream(Protocol):
    """One phone call's stream."""

    def ask(self, **kind: object) -> None: ...

    def events(self) -> AsyncIterator[pb.CallResponse]:
        """Until the call is over. Raises `Refusal`."""
        ...

    def close(self) -> None: ...


class RefusedNotes(Protocol):
    def note(self, login: str, source_address: str, refusal: Refusal) -> None: ...


class Manager(Protocol):
    """Each question raises `Refusal`; manager-unreachable when nobody answers."""

    @property
    def refused_registrations(self) -> RefusedNotes: ...

    async def register(self, credentials: Credentials, source: str) -> manager_pb2.RegisterResponse: ...

    async def route_call(
        self, call_id: str, credentials: Credentials, source: str, called: str, *, registered: bool, trunk_id: str = ""
    ) -> manager_pb2.RouteCallResponse: ...

    async def route_incoming(
        self, call_id: str, session_id: str, caller: call_pb2.Peer
    ) -> manager_pb2.RouteIncomingResponse: ...

    def note(self, record: call_pb2.CallRecord) -> None:
        """A call that begins, or got further."""
        ...

    def report(self, record: call_pb2.CallRecord) -> None:
        """A call that has ended."""
        ...


class Storages(Protocol):
    @property
    def sessions(self) -> Mapping[str, manager_pb2.SessionAssignment]:
        """By their ids."""
        ...

    def call(self, session: manager_pb2.SessionAssignment) -> Stream: ...

    async def send_message(self, session_id: str, user_id: int, text: str) -> None:
        """Raises `Refusal`."""
        ...


@dataclass(frozen=True)
class Surroundings:
    sip_hosts: Hosts[Any]
    telegram_hosts: Hosts[Any]
    edge: SipEdge
    storages: Storages
    tasks: BackgroundTasks


@dataclass
class CallContext:
    """What the ports of one call share."""

    call_id: str
    recorder: Recorder
    rings: RingPair
    tasks: BackgroundTasks
    offered: tuple[str, ...] | None = None  # the codecs of a caller's offer, when it made one
    rate: int = 0  # of the sound on the SIP side, as the first host to have it says; 0 until then
