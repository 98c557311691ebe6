"""All sessions of this Storage: their keepers, and who watches them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable

import structlog
from pyrogram import raw
from sqlalchemy.exc import SQLAlchemyError
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.metrics import SESSIONS
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_session_store.telegram.clients import Clients
from teletrunk_session_store.telegram.incoming import Incoming
from teletrunk_session_store.telegram.lease import LEASE_S, Lease
from teletrunk_session_store.telegram.phone_call import peer_message
from teletrunk_session_store.telegram.renewals import Renewals
from teletrunk_session_store.telegram.session import Session, SessionState
from teletrunk_session_store.telegram.sign_in import Success
from teletrunk_session_store.vault.store import FAILURES, Vault

log = structlog.get_logger()

_STATES = {
    SessionState.CONNECTING: manager_pb2.SESSION_STATE_CONNECTING,
    SessionState.ACTIVE: manager_pb2.SESSION_STATE_ACTIVE,
    SessionState.UNAUTHORIZED: manager_pb2.SESSION_STATE_UNAUTHORIZED,
}
_FOLLOW_S = 2.0
_LEAVE_S = 0.2
_HAND_OVER_S = 5.0  # another Storage asks for the lease each second
_TAKE_S = 5.0
_GATHER_S = 15.0  # so long the first Worker of a session is waited for: it must be told of the session first
Watcher = asyncio.Queue[tuple[str, pb.WatchResponse]]


class Sessions:
    """Starts a keeper for each session of the vault, and passes on what happens to them."""

    def __init__(self, owner: str, vault: Vault, clients: Clients) -> None:
        self._owner = owner
        self._vault = vault
        self._clients = clients
        self._renewals = Renewals(vault, owner, LEASE_S)
        self._sessions: dict[str, Session] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[Watcher, set[str]] = {}
        self._named: dict[str, Watcher] = {}
        self._watched: set[str] = set()  # at some time
        self._removing: set[str] = set()
        self._gone: set[str] = set()  # since the vault was read last
        self._background = BackgroundTasks()
        self.leaving = False
        self.changed = asyncio.Event()  # what a heartbeat says
        self.blind = False  # the vault does not answer

    async def start(self) -> None:
        for session_id, user_id in (await self._vault.session_ids()).items():
            self._keep(session_id, user_id)

    async def follow(self) -> None:
        """Other Storages of the same vault sign accounts in and out too. Runs until cancelled."""
        while True:
            await asyncio.sleep(_FOLLOW_S)
            before = set(self._sessions)  # who comes or goes while the vault is read is none of its business
            self._gone.clear()
            try:
                if self._vault.held_back:
                    await self._vault.look_for_adoption()
                found = await self._vault.session_ids()
            except (SQLAlchemyError, OSError) as error:
                self.blind = True
                log.warning("vault does not answer", error=type(error).__name__)
                continue
            self.blind = False
            if self.leaving:
                continue
            for session_id, user_id in found.items():
                if session_id not in self._sessions and session_id not in self._removing | self._gone:
                    self._keep(session_id, user_id)
            for session_id in (before & set(self._sessions)) - set(found) - self._removing:
                await self._let_go(session_id)

    async def drain(self, seconds: float) -> None:
        """Returns when the last call has ended, or the time is up.

        Meanwhile sessions without calls go to another Storage, if there is one: the first that is let go shows it.
        """
        self.leaving = True
        self.changed.set()
        deadline = time.monotonic() + seconds
        others: bool | None = None  # until one has been let go
        while any(session.has_calls for session in self._sessions.values()) and time.monotonic() < deadline:
            idle = [session for session in self._sessions.values() if not session.has_calls]
            for session in idle if others is not False else ():
                await self._let_go(session.session_id)
                if others is None and not (others := await self._is_taken(session.session_id)):
                    self._keep(session.session_id, session.user_id)
                    break
            await asyncio.sleep(_LEAVE_S)

    async def _is_taken(self, session_id: str) -> bool:
        """Whether another Storage takes a session that was let go, soon."""
        until = time.monotonic() + _HAND_OVER_S
        while time.monotonic() < until:
            with contextlib.suppress(*FAILURES):
                if await self._vault.lease_owner(session_id) not in ("", self._owner):
                    return True
            await asyncio.sleep(_LEAVE_S)
        return False

    async def stop(self) -> None:
        await asyncio.gather(*(session.settle() for session in self._sessions.values()))
        for task in self._keepers.values():
            task.cancel()
        # They close their clients one after the other step by step: to be cancelled once more would cut that short.
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        await self._background.settle(0)

    def find(self, session_id: str) -> Session:
        """The session, in whatever state. Raises `Refusal`."""
        session = self._sessions.get(session_id)
        if session is None:
            raise Refusal("no-active-session")
        return session

    def active(self, session_id: str) -> Session:
        """The session, ready for requests. Raises `Refusal`."""
        session = self.find(session_id)
        if session.state is not SessionState.ACTIVE:
            raise Refusal("session-disconnected", session.reason)
        return session

    async def add(self, success: Success) -> None:
        """Keeps a fresh sign-in, and then signs older sessions of the same user out. It can be repeated.

        Raises what the vault raises; nothing has changed then.
        """
        user_id, session_id = success.user.user_id, success.session_id
        old = {s.session_id for s in self._sessions.values() if s.user_id == user_id} - {session_id}
        self._removing |= old
        try:
            await self._vault.put_session(session_id, user_id, success.session)
            for each in old:
                await self._sign_out(each)
        finally:
            self._removing -= old
        # `follow` may have seen it first; a Storage that leaves leaves it to others.
        if session_id not in self._sessions and not self.leaving:
            self._keep(session_id, user_id)

    async def remove(self, session_id: str) -> None:
        self._removing.add(session_id)
        try:
            await self._sign_out(session_id)
            await self._vault.remove_session(session_id)
        finally:
            self._removing.discard(session_id)

    async def _sign_out(self, session_id: str) -> None:
        """At Telegram if it can be reached; here in any case."""
        if session := self._sessions.get(session_id):
            await session.end_calls()
            try:
                await session.invoke(raw.functions.auth.LogOut())
            except Refusal as refusal:
                log.warning("not signed out at Telegram", session=session_id, why=refusal.phrase)
        await self._let_go(session_id)

    async def _let_go(self, session_id: str) -> None:
        self._gone.add(session_id)
        self._sessions.pop(session_id, None)
        if keeper := self._keepers.pop(session_id, None):
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        self.changed.set()

    def reports(self) -> list[manager_pb2.SessionReport]:
        return [_report(session) for session in self._sessions.values()]

    def measure(self) -> None:
        """Sets the gauges."""
        states = [report.state for report in self.reports()]
        for name, state in manager_pb2.SessionState.items():
            if state:
                SESSIONS.labels(name.removeprefix("SESSION_STATE_").lower()).set(states.count(state))

    def _keep(self, session_id: str, user_id: int) -> None:
        lease = Lease(self._vault, session_id, self._owner, self._renewals)
        session = Session(session_id, user_id, lease, self._vault, self._clients)
        session.on_state = self._on_state
        session.on_incoming = self._on_incoming
        self._sessions[session_id] = session
        self._keepers[session_id] = self._background.run(session.keep())
        self.changed.set()

    # Watching.

    async def watch(self, session_ids: list[str], watch_id: str = "") -> AsyncIterator[tuple[str, pb.WatchResponse]]:
        """What happens to these sessions, each with its id; the present state and waiting calls first."""
        queue: Watcher = asyncio.Queue(maxsize=1000)
        self._watchers[queue] = set(session_ids)
        if watch_id:
            self._named[watch_id] = queue
        self._watched.update(session_ids)
        try:
            # In one step with that: what comes while this is passed on is in the queue, and nothing is in both.
            for present in [each for session_id in session_ids for each in self._present(session_id)]:
                yield present
            while True:
                yield await queue.get()
        finally:
            del self._watchers[queue]
            if self._named.get(watch_id) is queue:
                del self._named[watch_id]

    def change_watch(self, watch_id: str, added: Iterable[str], removed: Iterable[str]) -> bool:
        """False when no such watch is open."""
        if (queue := self._named.get(watch_id)) is None:
            return False
        wanted = self._watchers[queue]
        wanted.difference_update(removed)
        for session_id in added:
            if session_id not in wanted:
                wanted.add(session_id)
                self._watched.add(session_id)
                with contextlib.suppress(asyncio.QueueFull):
                    for present in self._present(session_id):
                        queue.put_nowait(present)
        return True

    def _present(self, session_id: str) -> list[tuple[str, pb.WatchResponse]]:
        session = self._sessions.get(session_id)
        if session is None:
            return []
        waiting = [_incoming(session, incoming) for incoming in session.incoming.all()]
        return [(session_id, each) for each in (pb.WatchResponse(session=_report(session)), *waiting)]

    def _publish(self, session: Session, response: pb.WatchResponse) -> bool:
        told = False
        for queue, wanted in self._watchers.items():
            if session.session_id in wanted:
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait((session.session_id, response))
                    told = True
        return told

    def _on_state(self, session: Session) -> None:
        self._publish(session, pb.WatchResponse(session=_report(session)))
        self.changed.set()

    def _on_incoming(self, session: Session, incoming: Incoming) -> None:
        gathering = 0.0 if session.session_id in self._watched else session.kept_since + _GATHER_S - time.monotonic()
        patience = _TAKE_S if self._publish(session, _incoming(session, incoming)) else max(0.0, gathering)
        self._background.run(self._turn_away(session, incoming, patience))

    async def _turn_away(self, session: Session, incoming: Incoming, patience: float) -> None:
        """No Worker watches the session, or none takes the call: the caller is told why nobody answers."""
        await asyncio.sleep(patience)
        if session.incoming.take(incoming.call.id) is None:
            return  # a Worker has it, or the caller has given up
        refusal = Refusal("worker-unavailable")
        log.warning("call turned away", session=session.session_id, phone_call_id=incoming.call.id, row=refusal.row.id)
        peer = raw.types.InputPhoneCall(id=incoming.call.id, access_hash=incoming.call.access_hash)
        await session.open_calls.discard(peer, raw.types.PhoneCallDiscardReasonBusy())
        with contextlib.suppress(Refusal):
            await send_message(session, incoming.caller.user_id, incoming.caller.access_hash, chat_text(refusal))


def chat_text(refusal: Refusal) -> str:
    """A refusal as a Telegram caller reads it."""
    return f"{refusal.row.sip_status} {refusal.phrase}\n{refusal.row.remedy}"


async def send_message(session: Session, user_id: int, access_hash: int, text: str) -> int:
    """messages.sendMessage to a user; returns the message's id (0 when the answer has none)."""
    answer = await session.invoke(
        raw.functions.messages.SendMessage(
            peer=raw.types.InputPeerUser(user_id=user_id, access_hash=access_hash),
            message=text,
            random_id=secrets.randbits(63),
        )
    )
    for update in getattr(answer, "updates", []):
        if isinstance(update, raw.types.UpdateMessageID):
            return int(update.id)
    return int(getattr(answer, "id", 0))


def _report(session: Session) -> manager_pb2.SessionReport:
    return manager_pb2.SessionReport(
        session_id=session.session_id,
        state=_STATES[session.state],
        reason=session.remark,
        user_id=session.user_id,
        proof=session.proof,
    )


def _incoming(session: Session, incoming: Incoming) -> pb.WatchResponse:
    return pb.WatchResponse(
        incoming=pb.IncomingCall(
            session_id=session.session_id,
            phone_call_id=incoming.call.id,
            caller=peer_message(incoming.caller),
            at=incoming.at,
        )
    )
