"""The Worker's links to the Storages that hold its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import grpc
import structlog
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.links.watch import Stub, Watch

log = structlog.get_logger()

_FIRST_WORD_S = 4.0  # it answers at once, before it asks Telegram anything

Place = tuple[str, str]


def _place(session: manager_pb2.SessionAssignment) -> Place:
    return session.storage_address, session.storage_id


class CallStream:
    """One Telegram call's stream: wishes down, events up."""

    def __init__(self, stub: Stub) -> None:
        self._wishes: asyncio.Queue[pb.CallRequest | None] = asyncio.Queue()
        self._stream = stub.Call(self._requests())

    def ask(self, **kind: object) -> None:
        self._wishes.put_nowait(pb.CallRequest(**kind))  # type: ignore[arg-type]

    async def events(self) -> AsyncIterator[pb.CallResponse]:
        """Until the call is over. Raises `Refusal`: the Storage's, or storage-unreachable when the link fails."""
        try:
            async with asyncio.timeout(_FIRST_WORD_S):
                first = await anext(aiter(self._stream))
            yield first
            async for response in self._stream:
                yield response
        except StopAsyncIteration:
            return
        except TimeoutError:
            log.warning("storage is silent")
            raise Refusal("storage-unreachable") from None
        except grpc.aio.AioRpcError as error:
            refusal = rpc.refusal_of(error)
            if refusal is None:
                log.warning("storage link broke", status=error.code().name, details=error.details())
            raise refusal or Refusal("storage-unreachable") from None

    def close(self) -> None:
        self._wishes.put_nowait(None)
        self._stream.cancel()

    async def _requests(self) -> AsyncIterator[pb.CallRequest]:
        while (wish := await self._wishes.get()) is not None:
            yield wish


class StorageLinks:
    """A channel and a watch for each Storage that the configuration names."""

    def __init__(self, security: rpc.Security) -> None:
        self._security = security
        # By address and id: another Storage may come to a place, and must not be taken for the one before.
        self._channels: dict[Place, grpc.aio.Channel] = {}
        self._watches: dict[Place, Watch] = {}
        self.on_incoming: Callable[[pb.IncomingCall], None] = lambda incoming: None
        self.sessions: Mapping[str, manager_pb2.SessionAssignment] = {}

    def configure(self, sessions: Mapping[str, manager_pb2.SessionAssignment], *, watch: bool) -> None:
        """By their ids. Watches the sessions that are this Worker's now, and no others; with `watch` off none.

        A Worker that drains watches none: Telegram's calls then go to others, or are told that nobody is there.
        """
        self.sessions = sessions
        if not watch:
            self.stop_watching()
            return
        wanted: dict[Place, set[str]] = {}
        somewhere: dict[Place, manager_pb2.SessionAssignment] = {}
        for session in sessions.values():
            if session.elsewhere:
                continue
            place = _place(session)
            wanted.setdefault(place, set()).add(session.session_id)
            somewhere[place] = session
        for place in set(self._watches) - set(wanted):
            self._watches.pop(place).stop()
        for place, session_ids in wanted.items():
            if place not in self._watches:
                self._watches[place] = Watch(partial(self._stub, somewhere[place]), place[0], self._arrived)
            self._watches[place].want(session_ids)

    def stop_watching(self) -> None:
        """No new call is heard of; those that are up go on."""
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()

    async def close(self) -> None:
        await asyncio.gather(*(watch.stop() for watch in self._watches.values()), return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()

    def call(self, session: manager_pb2.SessionAssignment) -> CallStream:
        return CallStream(self._stub(session))

    async def send_message(self, session_id: str, user_id: int, text: str) -> None:
        """Raises `Refusal`."""
        session = self.sessions.get(session_id)
        if session is None:
            raise Refusal("no-active-session")
        request = pb.SendMessageRequest(session_id=session_id, user_id=user_id, text=text)
        try:
            await self._stub(session).SendMessage(request, timeout=rpc.DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            raise rpc.refusal_of(error) or Refusal("storage-unreachable") from None

    def redial(self) -> None:
        """New calls are made with the new certificate; those that are up keep their connection."""
        self._channels = {}

    def _stub(self, session: manager_pb2.SessionAssignment) -> Stub:
        place = _place(session)
        if place not in self._channels:
            identity = Identity("storage", session.storage_id)
            self._channels[place] = rpc.dial(session.storage_address, self._security, identity)
        return Stub(self._channels[place])

    def _arrived(self, incoming: pb.IncomingCall) -> None:
        """One call that cannot be begun (no memory, no descriptors) must not end the watch for the others."""
        try:
            self.on_incoming(incoming)
        except Exception:
            log.exception("an incoming call could not be begun", session=incoming.session_id)
