"""One Telegram session: its client, kept alive under a lease, and what reaches it.

The keeper is the session's one owner task. It takes the lease, runs a client, notices when the client is dead
(kurigram can be connected and deaf), builds a new one with growing pauses, and reports the real state.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog
from pyrogram import raw
from pyrogram.errors import AuthKeyDuplicated, RPCError, Unauthorized
from pyrogram.handlers import RawUpdateHandler
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal

from teletrunk_session_store.telegram import failures
from teletrunk_session_store.telegram.clients import Clients
from teletrunk_session_store.telegram.kurigram import (
    BadMessage,
    TelegramClient,
    about_clock,
    checked,
    close,
    key_is_unknown,
    named,
)
from teletrunk_session_store.telegram.lease import SILENCE_S, Lease, LeaseLost
from teletrunk_session_store.telegram.phone_calls import LATE_ANSWER_S, CallRequest, PhoneCalls
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.store import KnownPeer, Vault, best_effort

log = structlog.get_logger()

_RPC_DEADLINE_S = 10.0
_CONNECT_DEADLINE_S = 20.0
_PROBE_S = 30.0
_LINK_CHECK_S = 0.25
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 4.0
_LINK_DOWN_S = 12.0  # kurigram comes back by itself in this time, or is given up
_LAST_ANSWERS_S = 2.0
_CLOSE_S = 2.0
_RECEIVE_S = 20.0  # so long Telegram waits for somebody to have the call
_OVER = "CALL_"  # what Telegram's errors about a call that has ended, or is not ours, begin with
# Telegram has taken the authorization away. The second is what it says when it saw the key in two places.
_NO_AUTHORIZATION = (Unauthorized, AuthKeyDuplicated)


class SessionState(Enum):
    CONNECTING = "connecting"
    ACTIVE = "active"
    UNAUTHORIZED = "unauthorized"


@dataclass(frozen=True)
class Incoming:
    """A phoneCallRequested that nobody has taken charge of yet."""

    call: Any
    caller: KnownPeer
    at: float


class Session:
    """A Telegram account's authorization, run by this Storage."""

    def __init__(self, session_id: str, user_id: int, owner: str, vault: Vault, clients: Clients) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.state = SessionState.CONNECTING
        self.reason = ""
        self.incoming: dict[int, Incoming] = {}
        self.on_state: Callable[[Session], None] = lambda session: None
        self.on_incoming: Callable[[Session, Incoming], None] = lambda session, incoming: None
        self._lease = Lease(vault, session_id, owner)
        self._vault = vault
        self._clients = clients
        self.calls = PhoneCalls(self._discard_given_up)
        self._client: TelegramClient | None = None
        self._carried = 0
        self._to_discard: dict[int, int] = {}  # calls that Telegram does not know to be over yet: access hashes by id
        self._broken = False  # the client is of no more use
        self._stirred = asyncio.Event()  # something has happened to its link
        self._reported = asyncio.Event()  # of the present state; the next one has its own
        self._late: set[asyncio.Task[Any]] = set()  # requests whose answer is awaited however long it takes
        self._background = BackgroundTasks()

    # Requests.

    async def invoke(self, query: Any, *, expect: type[Any] | None = None, patience: float = 0.0) -> Any:
        """One request to Telegram, once, with a deadline. Raises `Refusal`.

        `expect` is the constructor that the answer must have; `patience` how long a link that is down is waited for.
        """
        client = await self._linked(patience)
        with self._refusing():
            sending = _send(client, query, _RPC_DEADLINE_S)
            try:
                answer = await _answered(client, sending)
            finally:
                sending.cancel()
        if expect is not None and not isinstance(answer, expect):
            raise Refusal("telegram-error", named(answer))
        return answer

    async def request_call(self, query: Any, callee_id: int) -> Any:
        """phone.requestCall. Who stops waiting has given it up: its call is discarded as soon as its id is known."""
        client = await self._linked()
        with self._refusing():
            sending = _send(client, query, LATE_ANSWER_S)
            request = self.calls.ask_for(callee_id)
            self._late.add(sending)
            sending.add_done_callback(self._late.discard)
            try:
                answer = await _answered(client, sending)
            except BaseException:
                if not sending.done():
                    log.info("call given up before its answer", session=self.session_id)
                    self.calls.give_up(request)
                sending.add_done_callback(lambda done: self._answered_late(request, done))
                raise
        self.calls.answered(request)
        return answer

    def _answered_late(self, request: CallRequest, done: asyncio.Task[Any]) -> None:
        self.calls.answered(request)
        call = None if done.cancelled() or done.exception() else getattr(done.result(), "phone_call", None)
        if hasattr(call, "access_hash"):
            self._discard_given_up(call)

    async def _linked(self, patience: float = 0.0) -> TelegramClient:
        """The client, with its link up. Raises `Refusal` when the session is not ready for requests."""
        deadline = time.monotonic() + patience
        while not self._is_linked() and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):  # of a link that is lost the library tells nobody
                async with asyncio.timeout(_LINK_CHECK_S):
                    await self._reported.wait()  # who has waited longest goes on first
        if self._client is None or self.state is not SessionState.ACTIVE:
            raise Refusal("session-disconnected", self.reason)
        return self._client

    def _is_linked(self) -> bool:
        return self.state is SessionState.ACTIVE and self._client is not None and self._client.is_linked()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
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
            raise failures.refusal_of(error) from None

    # Calls.

    @property
    def has_calls(self) -> bool:
        """Up, being set up, or waiting for a Worker."""
        return bool(self.incoming or self.calls or self._carried)

    @contextlib.contextmanager
    def carrying(self) -> Iterator[None]:
        """A call of it is under way, from its first question on."""
        self._carried += 1
        try:
            yield
        finally:
            self._carried -= 1

    async def note_call(self, phone_call_id: int, access_hash: int) -> None:
        """A successor discards what is noted here, should this process die."""
        async with best_effort():  # a call does not depend on the vault
            await self._vault.note_call(self.session_id, phone_call_id, access_hash)

    async def call_is_over(self, phone_call_id: int) -> None:
        """Telegram knows it: nothing is left to be done."""
        self._to_discard.pop(phone_call_id, None)
        async with best_effort():
            await self._vault.forget_call(self.session_id, phone_call_id)

    async def discard(self, peer: Any, reason: Any, duration: int = 0) -> None:
        """phone.discardCall. What cannot be told now is told when the link is back, or by a successor."""
        query = raw.functions.phone.DiscardCall(peer=peer, duration=duration, reason=reason, connection_id=0)
        told = False
        try:
            await self.invoke(query)
            told = True
        except Refusal as refusal:
            again = peer.id in self._to_discard and refusal.row.id == "telegram-error"  # its second no is an answer too
            told = again or refusal.detail.startswith(_OVER)
            if not told:
                log.warning("call not discarded yet", session=self.session_id, why=refusal.phrase)
        finally:
            if not told:
                self._to_discard[peer.id] = peer.access_hash
        if told:
            await self.call_is_over(peer.id)
        else:
            await self.note_call(peer.id, peer.access_hash)

    def _discard_given_up(self, call: Any) -> None:
        log.info("call discarded that was given up", session=self.session_id)
        peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        self._background.run(self.discard(peer, raw.types.PhoneCallDiscardReasonMissed()))

    async def settle(self) -> None:
        """Before the end: what was given up may have begun a call, and is awaited a little so that it is discarded."""
        if self._late:
            await asyncio.wait(self._late, timeout=_LAST_ANSWERS_S)
            await self._background.settle(_CLOSE_S)

    # Flood waits: what Telegram said holds for the account, whoever asks next.

    async def require_no_flood(self) -> None:
        """Raises `Refusal` while Telegram does not want to be asked, with the seconds that are left."""
        left = math.ceil(await self._vault.flood_until(self.session_id) - time.time())
        if left > 0:
            raise Refusal("flood-wait", retry_after=left)

    async def note_flood(self, seconds: int) -> None:
        await self._vault.note_flood(self.session_id, time.time() + seconds)

    async def _find_left_calls(self) -> None:
        """Calls of a Storage that crashed: nobody carries them, and the other side should not wait."""
        async with best_effort():
            for phone_call_id, access_hash in await self._vault.left_calls(self.session_id):
                if phone_call_id not in self.calls:
                    self._to_discard[phone_call_id] = access_hash

    async def _discard_left_calls(self) -> None:
        for phone_call_id, access_hash in list(self._to_discard.items()):
            peer = raw.types.InputPhoneCall(id=phone_call_id, access_hash=access_hash)
            await self.discard(peer, raw.types.PhoneCallDiscardReasonDisconnect())

    # Updates.

    async def _on_update(self, client: TelegramClient, update: Any, users: dict[int, Any], chats: object) -> None:
        if isinstance(update, raw.types.UpdatePhoneCall):
            call = update.phone_call
            if isinstance(call, raw.types.PhoneCallRequested):
                self._background.run(self._announce(call, users, time.time()))
                self._background.run(self._receive(call))
            else:
                if isinstance(call, raw.types.PhoneCallDiscarded):
                    self.incoming.pop(call.id, None)
                self.calls.pass_on(call.id, call)
        elif isinstance(update, raw.types.UpdatePhoneCallSignalingData):
            self.calls.pass_on(update.phone_call_id, update)
        elif not _is_private_message(update):
            return  # who only shares a group with the account is not worth remembering
        self._background.run(self._remember_if_possible(list(users.values())))  # no update waits for a vault

    async def _announce(self, call: Any, users: dict[int, Any], at: float) -> None:
        """Workers hear of a call before Telegram has answered anything: the PBX rings meanwhile."""
        caller = await self._caller(call.admin_id, users)
        if not self.calls.is_over(call.id):
            incoming = self.incoming[call.id] = Incoming(call, caller, at)
            self.on_incoming(self, incoming)

    async def _receive(self, call: Any) -> None:
        """phone.receivedCall: from then on the caller hears ringing. The link may still be coming up."""
        peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        deadline = time.monotonic() + _RECEIVE_S
        while (left := deadline - time.monotonic()) > 0 and not self.calls.is_over(call.id):
            try:
                await self.invoke(raw.functions.phone.ReceivedCall(peer=peer), patience=left)
                return
            except Refusal as refusal:
                log.info("call not received", session=self.session_id, why=refusal.phrase)
                if refusal.row.id not in ("session-disconnected", "telegram-timeout"):
                    return
                await asyncio.sleep(_LINK_CHECK_S)

    async def _caller(self, user_id: int, users: dict[int, Any]) -> KnownPeer:
        """From the update that brought the call, else from the vault, else by the bare id."""
        if (user := users.get(user_id)) is not None and user.access_hash and not user.min:
            return peer_of(user)
        async with best_effort():
            if known := await self._vault.find_peer(self.session_id, user_id):
                return known
        return KnownPeer(user_id, 0)

    async def _remember_if_possible(self, users: list[Any]) -> None:
        async with best_effort():
            await self.remember(users)

    async def remember(self, users: list[Any]) -> list[KnownPeer]:
        """Caches the users that an answer or update brought, with this session's access hashes."""
        peers = [peer_of(user) for user in users if isinstance(user, raw.types.User) and not user.min]
        known = [peer for peer in peers if peer.access_hash]
        if known:
            await self._vault.put_peers(self.session_id, known)
        return peers

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
                    pause = 1.0 if time.monotonic() - started > 60 else min(pause * 2, _LONGEST_PAUSE_S)
                    if self.state is SessionState.UNAUTHORIZED:
                        pause = _LONGEST_PAUSE_S * 10
                elif self._vault.held_back:
                    self._report(SessionState.CONNECTING, self._vault.held_back)
                await asyncio.sleep(pause)
        finally:
            for request in list(self._late):
                request.cancel()
            await self._background.settle(0)
            await self._lease.release()

    async def _run_once(self) -> None:
        """One life of a client, whatever ends it."""
        try:
            await self._lease.hold(self._run_client())
        except LeaseLost:
            log.error("lease lost", session=self.session_id)
            for listener in self.calls.listeners():
                listener.on_lost()
        except Exception as error:  # a vault that fails, a row that does not open: the next try may do better
            log.warning("session failed", session=self.session_id, error=type(error).__name__)
        finally:
            client, self._client = self._client, None
            if self.state is SessionState.ACTIVE:
                self._report(SessionState.CONNECTING)
            if client is not None:
                await close(client)

    async def _run_client(self) -> None:
        self._broken = False
        self._stirred.clear()
        opened = await self._vault.get_session(self.session_id)
        client: Any = self._clients.make(self.session_id, opened, lambda: self._may_connect(client))
        self._client = client
        client.add_handler(RawUpdateHandler(self._on_update))
        try:
            async with asyncio.timeout(_CONNECT_DEADLINE_S):
                await client.connect()
                await _limit_silence(client)
                await client.initialize()
            await self._probe(client)
            await self._find_left_calls()
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
            self._background.run(_limit_silence(client))
            self._stirred.set()
        return True

    async def _watch(self, client: TelegramClient) -> None:
        """Returns or raises when the client is of no more use."""
        probed = time.monotonic()
        while not self._broken:
            await self._discard_left_calls()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._stirred.wait()
            if self._broken:
                return
            if self._stirred.is_set() or not client.is_linked():
                self._stirred.clear()
                self._report(SessionState.CONNECTING)
                async with asyncio.timeout(_LINK_DOWN_S):
                    await client.session.is_started.wait()
            if self.state is not SessionState.ACTIVE or time.monotonic() - probed > _PROBE_S:
                await self._probe(client)
                probed = time.monotonic()

    async def _probe(self, client: TelegramClient) -> None:
        """The library can be connected, and deaf or refused. A question that is answered makes the session active."""
        await client.invoke(raw.functions.updates.GetState(), retries=1, timeout=_RPC_DEADLINE_S)
        self._report(SessionState.ACTIVE, about_clock(client.clock_ahead))

    def _lost_authorization(self, reason: str) -> None:
        log.error("telegram took the authorization away", session=self.session_id, reason=reason)
        self._report(SessionState.UNAUTHORIZED, reason)
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


def peer_of(user: Any) -> KnownPeer:
    """A TL user as a peer. Who has several usernames has them in a list instead."""
    names = [user.username, *(name.username for name in user.usernames or [] if name.active)]
    return KnownPeer(
        user.id,
        user.access_hash or 0,
        user.first_name or "",
        user.last_name or "",
        next((name for name in names if name), "").lower(),
        user.phone or "",
    )


def _send(client: TelegramClient, query: Any, seconds: float) -> asyncio.Task[Any]:
    """Sends a request once. kurigram's own `invoke` repeats what Telegram answers with 500, and waits for lost links.

    Raises OSError when the link is down.
    """
    if not client.is_linked():
        raise ConnectionError("the link to Telegram is down")
    return asyncio.ensure_future(client.session.send(query, timeout=seconds))


async def _answered(client: TelegramClient, sending: asyncio.Task[Any]) -> Any:
    """Raises what Telegram says, TimeoutError, and OSError when the link goes down meanwhile."""
    async with asyncio.timeout(_RPC_DEADLINE_S):
        while not sending.done():
            await asyncio.wait({sending}, timeout=_LINK_CHECK_S)
            if not client.is_linked() and not sending.done():
                raise ConnectionError("the link to Telegram broke")
    return checked(client, sending.result())


async def _limit_silence(client: TelegramClient) -> None:
    """Telegram shall close the connection soon when we fall silent: see `lease`. kurigram's own pings say the same."""
    with contextlib.suppress(OSError, TimeoutError, RPCError):  # then the connection is gone already
        async with asyncio.timeout(_CONNECT_DEADLINE_S):
            await client.session.is_started.wait()
            client.session.WAIT_TIMEOUT = SILENCE_S - 10  # to which it adds 10 s in its pings
            await client.session.send(
                raw.functions.PingDelayDisconnect(ping_id=0, disconnect_delay=SILENCE_S), wait_response=False
            )


def _is_private_message(update: Any) -> bool:
    return isinstance(update, raw.types.UpdateNewMessage) and isinstance(
        getattr(update.message, "peer_id", None), raw.types.PeerUser
    )
