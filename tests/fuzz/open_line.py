"""What stands behind a Worker's calls, and says yes: Manager, Storage and Telegram hosts, as far as calls use them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.refused_registrations import RefusedRegistrations
from teletrunk_worker.sip.auth import Credentials

_SHORT_S = (0.2, 1.0, 3.0)


class PhoneCall:
    """A phone call at Telegram that is answered, and that Telegram hangs up in the end."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._said: asyncio.Queue[pb.CallResponse] = asyncio.Queue()

    def ask(self, **kind: object) -> None:
        match next(iter(kind)):
            case "start":
                self._say(pb.CallResponse(requested=pb.CallRequested(phone_call_id=1)))
                self._say(pb.CallResponse(ringing=pb.CallRinging()))
                self._is_up()
            case "take":
                self._say(pb.CallResponse(requested=pb.CallRequested(phone_call_id=1)))
            case "accept":
                self._is_up()
            case "discard":
                self._say(_hung_up())

    def _is_up(self) -> None:
        self._say(pb.CallResponse(ready=pb.CallReady(key=b"k" * 256)))
        asyncio.get_running_loop().call_later(self._lasts_s, self._say, _hung_up())

    def _say(self, response: pb.CallResponse) -> None:
        self._said.put_nowait(response)

    async def events(self) -> AsyncIterator[pb.CallResponse]:
        while True:
            yield (response := await self._said.get())
            if response.WhichOneof("kind") == "discarded":
                return

    def close(self) -> None: ...


def _hung_up() -> pb.CallResponse:
    return pb.CallResponse(discarded=pb.CallDiscarded(reason=pb.DISCARD_REASON_HANGUP))


@dataclass
class Telegram:
    """Manager, Storage and Telegram hosts, as far as calls use them: they say yes."""

    rng: random.Random
    long_s: float  # the longest of the calls, until Telegram hangs up
    lasts: dict[str, float] = field(default_factory=dict)  # by session: no longer than this
    sessions: dict[str, manager_pb2.SessionAssignment] = field(default_factory=dict)
    listeners: dict[str, Callable[[Message], None]] = field(default_factory=dict)
    records: Counter[str] = field(default_factory=Counter)
    port: int = 0
    rate: int = 8000
    refused_registrations: RefusedRegistrations = field(default_factory=RefusedRegistrations)

    # The Manager.

    async def register(self, credentials: Credentials, source: str) -> manager_pb2.RegisterResponse:
        manager_pb2.RegisterRequest(digest=manager_pb2.Digest(**vars(credentials)), source_address=source)
        if credentials.username not in self.sessions:
            raise Refusal("login-not-found")
        return manager_pb2.RegisterResponse(trunk_id=credentials.username, login=credentials.username)

    async def route_call(
        self, call_id: str, credentials: Credentials, source: str, called: str, *, registered: bool, trunk_id: str = ""
    ) -> manager_pb2.RouteCallResponse:
        manager_pb2.RouteCallRequest(digest=manager_pb2.Digest(**vars(credentials)), called=called)
        if (session := self.sessions.get(credentials.username)) is None:
            raise Refusal("login-not-found")
        return manager_pb2.RouteCallResponse(trunk_id=session.session_id, account_id="a", session=session)

    async def route_incoming(
        self, call_id: str, session_id: str, caller: call_pb2.Peer
    ) -> manager_pb2.RouteIncomingResponse:
        tier = manager_pb2.IncomingTier(targets=[manager_pb2.IncomingTarget(trunk_id=session_id, login=session_id)])
        return manager_pb2.RouteIncomingResponse(account_id="a", tiers=[tier] * 2, caller_id="+1", caller_name="A")

    def note(self, record: call_pb2.CallRecord) -> None:
        record.SerializeToString()

    def report(self, record: call_pb2.CallRecord) -> None:
        record.SerializeToString()
        self.records[f"{record.ended_by} {record.error_id or record.sip_status}"] += 1

    # The Storage.

    def call(self, session: manager_pb2.SessionAssignment) -> PhoneCall:
        longest = self.lasts.get(session.session_id, 0.0)
        return PhoneCall(longest or self.rng.choice((*_SHORT_S, self.long_s)))

    async def send_message(self, session_id: str, user_id: int, text: str) -> None: ...

    # The Telegram hosts, of which there is one.

    def expect(self) -> None:
        """It is there."""

    async def place(
        self, call: str, listener: Callable[[Message], None], besides: Sequence[object] = (), *, wide: bool = False
    ) -> Telegram:
        self.listeners[call] = listener
        return self

    def release(self, host: object, call: str) -> None:
        self.listeners.pop(call, None)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        say: dict[str, dict[str, Any]] = {
            "open": {"event": "connected", "connect_ms": 1.0},
            "close": {"event": "closed", "stats": {}},
        }
        if (event := say.get(message["command"])) and (listener := self.listeners.get(message["call"])):
            asyncio.get_running_loop().call_soon(listener, {**event, "call": message["call"]})
