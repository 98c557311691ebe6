"""One Telegram session: its client, kept alive under a lease, and what reaches it.

The keeper is the session's one owner task. It takes the lease, runs a client, notices when the client is dead
(kurigram can be connected and deaf), builds a new one with growing pauses, and reports the real state.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import structlog
from pyrogram import Client, raw
from pyrogram.errors import AuthKeyDuplicated, RPCError, Unauthorized
from pyrogram.handlers import RawUpdateHandler
from teletrunk.errors import Refusal

from teletrunk_session_store.telegram import failures
from teletrunk_session_store.telegram.clients import Clients
from teletrunk_session_store.telegram.lease import SILENCE_S, Lease, LeaseLost
from teletrunk_session_store.vault.store import KnownPeer, Vault, best_effort

log = structlog.get_logger()

_RPC_DEADLINE_S = 10.0
_CONNECT_DEADLINE_S = 20.0
_PROBE_S = 30.0
_LINK_CHECK_S = 0.25
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 4.0
_LINK_DOWN_S = 12.0  # kurigram comes back by itself in this time, or is given up
_CLOSE_S = 2.0  # of a connection, when the lease may be over in five
_TERMINATE_S = 5.0
# Telegram has taken the authorization away. The second is what it says when it saw the key in two places.
_NO_AUTHORIZATION = (Unauthorized, AuthKeyDuplicated)
_EARLY_UPDATES_KEPT_S = 10.0


class SessionState(Enum):
    CONNECTING = "connecting"
    ACTIVE = "active"
    UNAUTHORIZED = "unauthorized"


class CallListener(Protocol):
    """A call that wants its updates."""

    def on_update(self, update: Any) -> None: ...

    def on_lost(self) -> None:
        """The session runs elsewhere now: nothing more will be heard of the call here."""
        ...


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
        self._client: Client | None = None
        self._calls: dict[int, CallListener] = {}
        self._early: dict[int, list[tuple[float, Any]]] = {}
        self._broken = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()

    # Requests.

    async def invoke(self, query: Any) -> Any:
        """One request to Telegram, once, with a deadline. Raises `Refusal`."""
        client = self._client
        if client is None or self.state is not SessionState.ACTIVE:
            raise Refusal("session-disconnected", self.reason)
        try:
            return await _asked(client, query)
        except _NO_AUTHORIZATION as error:
            self._lost_authorization(failures.word(error))
            raise failures.refusal_of(error) from None
        except (RPCError, OSError, TimeoutError) as error:
            raise failures.refusal_of(error) from None

    # Calls.

    def attach(self, phone_call_id: int, listener: CallListener) -> None:
        """From now on `listener` gets the call's updates, those that came early first."""
        self._calls[phone_call_id] = listener
        for _, update in self._early.pop(phone_call_id, []):
            listener.on_update(update)

    def detach(self, phone_call_id: int) -> None:
        self._calls.pop(phone_call_id, None)
        self.incoming.pop(phone_call_id, None)

    async def note_call(self, phone_call_id: int, access_hash: int) -> None:
        await self._vault.note_call(self.session_id, phone_call_id, access_hash)

    async def forget_call(self, phone_call_id: int) -> None:
        await self._vault.forget_call(self.session_id, phone_call_id)

    # Flood waits: what Telegram said holds for the account, whoever asks next.

    async def require_no_flood(self) -> None:
        """Raises `Refusal` while Telegram does not want to be asked, with the seconds that are left."""
        left = math.ceil(await self._vault.flood_until(self.session_id) - time.time())
        if left > 0:
            raise Refusal("flood-wait", retry_after=left)

    async def note_flood(self, seconds: int) -> None:
        await self._vault.note_flood(self.session_id, time.time() + seconds)

    async def _discard_left_calls(self) -> None:
        """Calls of a Storage that crashed: nobody carries them, and the other side should not wait."""
        for phone_call_id, access_hash in await self._vault.left_calls(self.session_id):
            if phone_call_id not in self._calls:
                with contextlib.suppress(Refusal):
                    await self.invoke(
                        raw.functions.phone.DiscardCall(
                            peer=raw.types.InputPhoneCall(id=phone_call_id, access_hash=access_hash),
                            duration=0,
                            reason=raw.types.PhoneCallDiscardReasonDisconnect(),
                            connection_id=0,
                        )
                    )
                await self.forget_call(phone_call_id)

    # Updates.

    async def _on_update(self, client: Client, update: Any, users: dict[int, Any], chats: object) -> None:
        if isinstance(update, raw.types.UpdatePhoneCall):
            call = update.phone_call
            if isinstance(call, raw.types.PhoneCallRequested):
                await self._on_requested(call, users)
            else:
                self._pass_on(call.id, call)
        elif isinstance(update, raw.types.UpdatePhoneCallSignalingData):
            self._pass_on(update.phone_call_id, update)
        elif not _is_private_message(update):
            return  # who only shares a group with the account is not worth remembering
        # After the call, which must not wait for a vault, nor be lost with it.
        async with best_effort():
            await self.remember(list(users.values()))

    def _pass_on(self, phone_call_id: int, update: Any) -> None:
        if listener := self._calls.get(phone_call_id):
            listener.on_update(update)
            return
        if isinstance(update, raw.types.PhoneCallDiscarded):
            self.incoming.pop(phone_call_id, None)
        now = time.monotonic()
        # An update can overtake the answer to the request that made the call.
        self._early = {key: kept for key, kept in self._early.items() if now - kept[-1][0] < _EARLY_UPDATES_KEPT_S}
        self._early.setdefault(phone_call_id, []).append((now, update))

    async def _on_requested(self, call: Any, users: dict[int, Any]) -> None:
        at = time.time()
        peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        with contextlib.suppress(Refusal):
            await self.invoke(raw.functions.phone.ReceivedCall(peer=peer))  # now the caller hears ringing
        incoming = self.incoming[call.id] = Incoming(call, await self._caller(call.admin_id, users), at)
        self.on_incoming(self, incoming)

    async def _caller(self, user_id: int, users: dict[int, Any]) -> KnownPeer:
        """From the update that brought the call, else from the vault, else by the bare id."""
        if (user := users.get(user_id)) is not None and user.access_hash and not user.min:
            return peer_of(user)
        async with best_effort():
            if known := await self._vault.find_peer(self.session_id, user_id):
                return known
        return KnownPeer(user_id, 0)

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
                    self._broken.clear()
                    started = time.monotonic()
                    await self._run_once()
                    pause = 1.0 if time.monotonic() - started > 60 else min(pause * 2, _LONGEST_PAUSE_S)
                    if self.state is SessionState.UNAUTHORIZED:
                        pause = _LONGEST_PAUSE_S * 10
                await asyncio.sleep(pause)
        finally:
            await self._lease.release()

    async def _run_once(self) -> None:
        """One life of a client, whatever ends it."""
        try:
            await self._lease.hold(self._run_client())
        except LeaseLost:
            log.error("lease lost", session=self.session_id)
            for listener in list(self._calls.values()):
                listener.on_lost()
        except Exception as error:  # a vault that fails, a row that does not open: the next try may do better
            log.warning("session failed", session=self.session_id, error=type(error).__name__)
        finally:
            client, self._client = self._client, None
            if self.state is SessionState.ACTIVE:
                self._report(SessionState.CONNECTING)
            if client is not None:
                await _stop(client)

    async def _run_client(self) -> None:
        opened = await self._vault.get_session(self.session_id)
        client: Any = self._clients.make(self.session_id, opened, lambda: self._may_connect(client))
        self._client = client
        client.add_handler(RawUpdateHandler(self._on_update))
        try:
            async with asyncio.timeout(_CONNECT_DEADLINE_S):
                await client.connect()
                await _limit_silence(client)
                await client.initialize()
            await client.invoke(raw.functions.updates.GetState(), retries=1)
            self._report(SessionState.ACTIVE)
            await self._discard_left_calls()
            await self._watch(client)
        except _NO_AUTHORIZATION as error:
            self._lost_authorization(failures.word(error))
        except (RPCError, OSError, TimeoutError, ConnectionError) as error:
            if _key_is_unknown(client):
                self._lost_authorization("AUTH_KEY_UNREGISTERED")
            else:
                log.warning("telegram connection failed", session=self.session_id, error=str(error))

    async def _may_connect(self, client: Any) -> bool:
        """Asked before every connection, also those that kurigram makes by itself."""
        retired = self._client is not client
        if retired or not await self._lease.renew():
            return False
        if client.session is not None:  # a reconnection; after the first connection `_run_client` does it
            task = asyncio.get_running_loop().create_task(_limit_silence(client))
            self._errands.add(task)
            task.add_done_callback(self._errands.discard)
        return True

    async def _watch(self, client: Any) -> None:
        """Returns or raises when the client is of no more use."""
        probed = time.monotonic()
        while not self._broken.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._broken.wait()
            if not client.session.is_started.is_set():
                self._report(SessionState.CONNECTING)
                async with asyncio.timeout(_LINK_DOWN_S):
                    await client.session.is_started.wait()
                self._report(SessionState.ACTIVE)
            if time.monotonic() - probed > _PROBE_S:
                await client.invoke(raw.functions.updates.GetState(), retries=1, timeout=_RPC_DEADLINE_S)
                probed = time.monotonic()

    def _lost_authorization(self, reason: str) -> None:
        log.error("telegram took the authorization away", session=self.session_id, reason=reason)
        self._report(SessionState.UNAUTHORIZED, reason)
        self._broken.set()

    def _report(self, state: SessionState, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            log.info("session state", session=self.session_id, state=state.value, reason=reason)
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


async def _asked(client: Client, query: Any) -> Any:
    """Sends a request once. kurigram's own `invoke` repeats what Telegram answers with 500, and waits for lost links.

    Raises what Telegram says, TimeoutError, and OSError when the link is down or goes down meanwhile.
    """
    session = client.session
    if not session.is_started.is_set():
        raise ConnectionError("the link to Telegram is down")
    sending = asyncio.ensure_future(session.send(query, timeout=_RPC_DEADLINE_S))
    try:
        while not sending.done():
            await asyncio.wait({sending}, timeout=_LINK_CHECK_S)
            if not session.is_started.is_set() and not sending.done():
                raise ConnectionError("the link to Telegram broke")
        return sending.result()
    finally:
        sending.cancel()


def _key_is_unknown(client: Client) -> bool:
    """Telegram answered -404: the key is not there any more, and never comes back."""
    task = client.session.recv_task if client.session else None
    if task is None or not task.done() or task.cancelled():
        return False
    return type(task.exception()).__name__ == "AuthKeyNotFound"


async def _limit_silence(client: Client) -> None:
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


async def _stop(client: Any) -> None:
    """Ends a client in whatever half-started state it is. Its connection goes first: another Storage may come soon."""
    session = client.session
    if session is not None:
        with contextlib.suppress(Exception):  # it may be broken in any way: it is thrown away
            async with asyncio.timeout(_CLOSE_S):
                await session.stop()
        with contextlib.suppress(Exception):  # there may be none, and it may be closed
            session.connection.protocol.writer.transport.abort()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_TERMINATE_S):
            if client.is_initialized:
                await client.terminate()
            if client.is_connected:
                await client.disconnect()
    for task in client.dispatcher.handler_worker_tasks:  # one that hangs would keep the client
        task.cancel()
