"""One Telegram session: its client, kept alive under a lease, and what reaches it.

The keeper is the session's one owner task. It takes the lease, runs a client, notices when the client is dead
(kurigram can be connected and deaf), builds a new one with growing pauses, and reports the real state. What came while
there was no link is fetched before the session counts as active again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from typing import Any

import structlog
from pyrogram.errors import AuthKeyDuplicated, FloodWait, RPCError, Unauthorized
from sqlalchemy.exc import SQLAlchemyError
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.session_proof import proof_of

from teletrunk_session_store.telegram import failures, requests
from teletrunk_session_store.telegram.clients import Clients, user_of
from teletrunk_session_store.telegram.flood_waits import FloodWaits
from teletrunk_session_store.telegram.incoming import Incoming, IncomingCalls
from teletrunk_session_store.telegram.known_peers import KnownPeers
from teletrunk_session_store.telegram.kurigram import (
    BadMessage,
    TelegramClient,
    about_clock,
    close,
    key_is_unknown,
    method_of,
    named,
)
from teletrunk_session_store.telegram.lease import Lease, LeaseLost
from teletrunk_session_store.telegram.open_calls import OpenCalls
from teletrunk_session_store.telegram.phone_calls import LATE_ANSWER_S, CallRequest
from teletrunk_session_store.telegram.updates import Updates
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.seal import WrongKey
from teletrunk_session_store.vault.store import Vault

log = structlog.get_logger()

_PROBE_S = 30.0
_PROBE_IN_CALL_S = 2.0  # Telegram does not say that it has revoked a session, and a hang-up may have got lost
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 4.0
_LINK_DOWN_S = 12.0  # kurigram comes back by itself in this time, or is given up
_LAST_ANSWERS_S = 2.0
_CLOSE_S = 2.0
_OUT_OF_ORDER_S = 0.3  # so long a missing update may still come by itself
# Telegram has taken the authorization away. The second is what it says when it saw the key in two places.
_NO_AUTHORIZATION = (Unauthorized, AuthKeyDuplicated)


class SessionState(Enum):
    CONNECTING = "connecting"
    ACTIVE = "active"
    UNAUTHORIZED = "unauthorized"


class Session:
    """A Telegram account's authorization, run by this Storage."""

    def __init__(self, session_id: str, user_id: int, lease: Lease, vault: Vault, clients: Clients) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.kept_since = time.monotonic()
        self.state = SessionState.CONNECTING
        self.reason = ""
        self.proof = b""  # for the Manager, once the vault's row was read
        self.on_state: Callable[[Session], None] = lambda session: None
        self.on_incoming: Callable[[Session, Incoming], None] = lambda session, incoming: None
        self._lease = lease
        self._vault = vault
        self._clients = clients
        self.peers = KnownPeers(vault, session_id)
        self.open_calls = OpenCalls(session_id, vault, self.invoke)
        self.calls = self.open_calls.calls
        self.incoming = IncomingCalls(session_id, self.peers, self.calls, self.invoke)
        self.incoming.on_call = lambda incoming: self.on_incoming(self, incoming)
        self._waits = FloodWaits(vault, session_id)
        self._updates = Updates(self.incoming, self.open_calls, self.remember_later, self._on_missed)
        self._client: TelegramClient | None = None
        self._carried = 0
        self._broken = False  # the client is of no more use
        self._stirred = asyncio.Event()  # something is to be looked at
        self._relinked = False
        self._probe_rest = 0.0  # Telegram wants no difference so soon
        self._reported = asyncio.Event()  # of the present state; the next one has its own
        self._late: set[asyncio.Task[Any]] = set()  # requests whose answer is awaited however long it takes
        self._background = BackgroundTasks()

    @property
    def remark(self) -> str:
        """What there is to say beside its state."""
        return "; ".join(filter(None, (self.reason, self._waits.told())))

    # Requests.

    async def invoke(self, query: Any, *, expect: type[Any] | None = None, patience: float = 0.0) -> Any:
        """One request to Telegram, once, with a deadline. Raises `Refusal`.

        `expect` is the constructor that the answer must have; `patience` how long a link that is down is waited for.
        """
        client = await self.linked(patience)
        self._waits.check(method_of(query))
        async with self._refusing(query):
            answer = await requests.asked(client, query)
        self._updates.follow(answer)
        if expect is not None and not isinstance(answer, expect):
            raise Refusal("telegram-error", named(answer))
        return answer

    async def request_call(self, query: Any, callee_id: int) -> Any:
        """phone.requestCall. Who stops waiting has given it up: its call is discarded as soon as its id is known."""
        try:
            self._waits.check(method_of(query))
            await self.open_calls.request_is_noted(query.random_id)
            client = await self.linked()
        except Refusal:
            self.open_calls.refused(query.random_id)
            raise
        async with self._refusing(query):
            sending = requests.send(client, query, LATE_ANSWER_S)
            request = self.calls.ask_for(callee_id, query.random_id)
            self._late.add(sending)
            sending.add_done_callback(self._late.discard)
            try:
                answer = await requests.answered(client, sending)
            except BaseException:
                if not sending.done():
                    log.info("call given up before its answer", session=self.session_id)
                    self.calls.give_up(request)
                sending.add_done_callback(lambda done: self._answered_late(request, done))
                raise
        self.calls.answered(request)
        return answer

    def _answered_late(self, request: CallRequest, done: asyncio.Task[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, OSError):
            self.calls.give_up(request)  # whether it has reached Telegram, only an update tells
            return
        self.calls.answered(request)
        call: Any = None if error else getattr(done.result(), "phone_call", None)
        if not hasattr(call, "access_hash"):
            self.open_calls.refused(request.random_id)
        elif not self.calls.is_finished(call.id):
            self.open_calls.discard_given_up(call, request)

    async def linked(self, patience: float = 0.0) -> TelegramClient:
        """The client, with its link up. Raises `Refusal` when the session is not ready for requests."""
        deadline = time.monotonic() + patience
        while not self._is_linked() and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):  # of a link that is lost the library tells nobody
                async with asyncio.timeout(requests.LINK_CHECK_S):
                    await self._reported.wait()  # who has waited longest goes on first
        if self._client is None or self.state is not SessionState.ACTIVE:
            raise Refusal("session-disconnected", self.reason)
        return self._client

    def _is_linked(self) -> bool:
        return self.state is SessionState.ACTIVE and self._client is not None and self._client.is_linked()

    @contextlib.asynccontextmanager
    async def _refusing(self, query: Any) -> AsyncIterator[None]:
        """What a request fails with becomes a `Refusal`, and is noted where it concerns the session."""
        try:
            yield
        except _NO_AUTHORIZATION as error:
            self._lost_authorization(failures.word(error))
            raise failures.refusal_of(error) from None
        except BadMessage as error:
            self._refused(error)
            raise failures.refusal_of(error) from None
        except (RPCError, OSError, TimeoutError) as error:
            refusal = failures.refusal_of(error)
            if refusal.row.id == "session-disconnected":
                raise Refusal(refusal.row.id, self.reason) from None
            if refusal.row.id == "flood-wait":
                await self._waits.note(method_of(query), refusal.retry_after)
                self.on_state(self)  # it is told of
            raise refusal from None

    async def forget_flood_waits(self) -> None:
        """Raises what the vault raises."""
        await self._waits.forget()
        self.on_state(self)

    # Calls.

    @property
    def has_calls(self) -> bool:
        """Up, being set up, or waiting for a Worker."""
        return bool(self.incoming or self.calls or self._carried)

    @contextlib.contextmanager
    def carrying(self) -> Iterator[None]:
        """A call of it is under way, from its first question on."""
        self._carried += 1
        self._stirred.set()  # it is looked at more often now
        try:
            yield
        finally:
            self._carried -= 1

    async def settle(self) -> None:
        """Before the end: what was given up may have begun a call, and is awaited a little so that it is discarded."""
        if self._late:
            await asyncio.wait(self._late, timeout=_LAST_ANSWERS_S)
        await self.open_calls.settle(_CLOSE_S)

    async def end_calls(self) -> None:
        """Before it is signed out: whoever talks is hung up on while Telegram can still be told."""
        self._tell_lost()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.calls.none_left.wait()

    def _tell_lost(self) -> None:
        """The session has ended here, for whatever reason: nothing more will be heard of its calls."""
        self.incoming.clear()
        for listener in self.calls.listeners():
            listener.on_lost()

    # Updates.

    def _on_updates(self, client: TelegramClient, updates: Any) -> None:
        if client is self._client:
            self._updates.take(updates)

    def _on_missed(self) -> None:
        asyncio.get_running_loop().call_later(_OUT_OF_ORDER_S, self._stirred.set)

    def remember_later(self, users: list[Any]) -> None:
        """No update and no call waits for the vault."""
        self._background.run(self.peers.remember_if_possible(users))

    # The keeper.

    async def keep(self) -> None:
        """Runs the session until cancelled."""
        pause = 1.0
        try:
            while True:
                if await self._lease.take():
                    if self.reason in adoption.REASONS:
                        self._report(SessionState.CONNECTING)
                    started = time.monotonic()
                    await self._run_once()
                    lived = time.monotonic() - started > _LINK_DOWN_S  # or has tried for as long
                    pause = 1.0 if lived else min(pause * 2, _LONGEST_PAUSE_S)
                    if self.state is SessionState.UNAUTHORIZED:
                        pause = _LONGEST_PAUSE_S * 10
                else:
                    if self._vault.held_back:
                        self._report(SessionState.CONNECTING, self._vault.held_back)
                    await self._prove()
                await asyncio.sleep(pause)
        finally:
            self._tell_lost()
            for request in list(self._late):
                request.cancel()
            await self.incoming.settle()
            await self._background.settle(0)
            await self.open_calls.settle(_CLOSE_S)
            await self._lease.release()

    async def _prove(self) -> None:
        """That the session is of our vault: the Manager may then send here what its Storage does not take any more."""
        if not self.proof:
            with contextlib.suppress(WrongKey, SQLAlchemyError):
                self.proof = proof_of(await self._vault.get_session(self.session_id))

    async def _run_once(self) -> None:
        """One life of a client, whatever ends it."""
        try:
            await self._lease.hold(self._run_client())
        except LeaseLost:
            log.error("lease lost", session=self.session_id)
            self._tell_lost()
        except Exception as error:  # a vault that fails, a row that does not open: the next try may do better
            log.warning("session failed", session=self.session_id, error=type(error).__name__)
        finally:
            client, self._client = self._client, None
            if self.state is SessionState.ACTIVE:
                self._report(SessionState.CONNECTING)
            if client is not None:
                await close(client)

    async def _run_client(self) -> None:
        self._broken = self._relinked = False
        self._stirred.clear()
        await self._waits.load()
        await self.open_calls.find_left()
        opened = await self._vault.get_session(self.session_id)
        if user_of(opened) != self.user_id:  # what the row says beside what is sealed
            raise WrongKey(self.session_id)
        self.proof = proof_of(opened)
        client: Any = self._clients.make(self.session_id, opened, lambda: self._may_connect(client))
        self._client = client
        client.on_updates = lambda updates: self._on_updates(client, updates)
        try:
            async with asyncio.timeout(requests.CONNECT_DEADLINE_S):
                await client.connect()
                await requests.limit_silence(client)
            await self._probe(client)
            await self._watch(client)
        except _NO_AUTHORIZATION as error:
            self._lost_authorization(failures.word(error))
        except BadMessage as error:
            self._refused(error)
        except (RPCError, OSError, TimeoutError, ConnectionError) as error:
            if key_is_unknown(client):
                self._lost_authorization("AUTH_KEY_UNREGISTERED")
            else:
                log.warning("telegram connection failed", session=self.session_id, error=str(error))

    async def _may_connect(self, client: Any) -> bool:
        """Asked before every connection, also those that kurigram makes by itself."""
        retired = self._client is not client
        if retired or not await self._lease.renew():
            return False
        if client.session is not None:  # a reconnection; after the first connection `_run_client` does it
            self._background.run(requests.limit_silence(client))
            self._relinked = True
            self._stirred.set()
        return True

    async def _watch(self, client: TelegramClient) -> None:
        """Returns or raises when the client is of no more use."""
        probed = time.monotonic()
        while not self._broken:
            self.open_calls.tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_IN_CALL_S if self.has_calls else _LOOK_S):
                    await self._stirred.wait()
            self._stirred.clear()
            if self._broken:
                return
            if key_is_unknown(client):
                raise ConnectionError("telegram does not know the key")
            if client.is_silent():
                log.warning("link to telegram is silent", session=self.session_id)
                client.abort()  # it comes back by itself, over another connection
            if self._relinked or not client.is_linked():
                self._report(SessionState.CONNECTING)
                async with asyncio.timeout(_LINK_DOWN_S):
                    await client.session.is_started.wait()
                self._relinked = False
            pause = max(_PROBE_IN_CALL_S if self.has_calls else _PROBE_S, self._probe_rest)
            is_due = self._updates.missed or time.monotonic() - probed >= pause
            if self.state is not SessionState.ACTIVE or is_due:
                await self._probe(client)
                probed = time.monotonic()

    async def _probe(self, client: TelegramClient) -> None:
        """The library can be connected, and deaf or refused. A question that is answered makes the session active.

        The question is what was missed: so nothing is missed for longer than from one probe to the next.
        """
        try:
            await self._updates.catch_up(client)
        except _NO_AUTHORIZATION:
            raise
        except RPCError as error:  # an answer, too; the next question begins anew
            log.warning("difference refused", session=self.session_id, error=failures.word(error))
            self._updates.begin_anew()
            self._probe_rest = float(error.value) if isinstance(error, FloodWait) else _PROBE_S
        else:
            self._probe_rest = 0.0
        self._report(SessionState.ACTIVE, about_clock(client.clock_ahead))

    def _lost_authorization(self, reason: str) -> None:
        log.error("telegram took the authorization away", session=self.session_id, reason=reason)
        self._report(SessionState.UNAUTHORIZED, reason)
        self._tell_lost()
        self._break()

    def _refused(self, error: BadMessage) -> None:
        """Another client may do better: it is told of Telegram's time."""
        self._clients.learn(error)
        self._report(SessionState.CONNECTING, str(error))
        self._break()

    def _break(self) -> None:
        self._broken = True
        self._stirred.set()

    def _report(self, state: SessionState, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            log.info("session state", session=self.session_id, state=state.value, reason=reason)
            self._reported.set()
            self._reported = asyncio.Event()
            self.on_state(self)
