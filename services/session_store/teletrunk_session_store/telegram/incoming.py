"""Calls to the account that nobody has taken charge of yet: those that Telegram tells of, and missed ones."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from pyrogram import raw
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal

from teletrunk_session_store.telegram.known_peers import KnownPeers
from teletrunk_session_store.telegram.phone_calls import PhoneCalls
from teletrunk_session_store.vault.store import KnownPeer

log = structlog.get_logger()

_RECEIVE_S = 20.0  # so long Telegram waits for somebody to have the call
_AGAIN_S = 0.25
_OWED_S = 600.0  # a call that was not put through has ended long before
_MOST_OWED = 1_000
_OVER = "CALL_"  # what Telegram's errors about a call that has ended begin with


@dataclass(frozen=True)
class Incoming:
    """A phoneCallRequested."""

    call: Any
    caller: KnownPeer
    at: float


class Invoke(Protocol):
    def __call__(self, query: Any, *, patience: float) -> Awaitable[Any]: ...


class IncomingCalls:
    """Those of one session that wait for a Worker."""

    def __init__(self, session_id: str, peers: KnownPeers, calls: PhoneCalls, invoke: Invoke) -> None:
        self._session_id = session_id
        self._peers = peers
        self._calls = calls
        self._invoke = invoke
        self._waiting: dict[int, Incoming] = {}
        self._owed: OrderedDict[int, tuple[KnownPeer, float]] = OrderedDict()  # callers, until when (monotonic)
        self._background = BackgroundTasks()
        self.on_call: Callable[[Incoming], None] = lambda incoming: None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, phone_call_id: int) -> bool:
        return phone_call_id in self._waiting

    def all(self) -> list[Incoming]:
        return list(self._waiting.values())

    def take(self, phone_call_id: int) -> Incoming | None:
        """It is the asker's from now on; None when it is over, or somebody else's."""
        return self._waiting.pop(phone_call_id, None)

    def take_owed_word(self, user_id: int) -> KnownPeer | None:
        """Who has called lately and was told nothing yet; now it counts as told.

        A Worker writes into the account's chats, and only to say why a call was not put through. The peer is the
        call's own: the vault may not have it yet, and may be unreachable.
        """
        caller, until = self._owed.pop(user_id, (None, 0.0))
        return caller if until > time.monotonic() else None

    def clear(self) -> None:
        """Nothing more will be heard of them here."""
        self._waiting.clear()

    async def settle(self) -> None:
        await self._background.settle(0)

    def requested(self, call: Any, users: Mapping[int, Any]) -> None:
        """Workers hear of it before Telegram has answered anything: the PBX rings meanwhile."""
        if self._calls.is_new(call.id):
            self._background.run(self._announce(call, users))
            self._background.run(self._receive(call))

    def missed(self, call: Any, users: Mapping[int, Any]) -> None:
        """It came while nobody was there, and may be over: Telegram is asked first."""
        if self._calls.is_new(call.id):
            self._background.run(self._announce_if_there(call, users))

    async def _announce_if_there(self, call: Any, users: Mapping[int, Any]) -> None:
        if await self._receive(call):
            log.info("call missed, and waiting still", session=self._session_id, phone_call_id=call.id)
            await self._announce(call, users)

    async def _announce(self, call: Any, users: Mapping[int, Any]) -> None:
        at = time.time()
        caller = await self._peers.find(call.admin_id, users)
        if not self._calls.is_over(call.id):
            self._owed[caller.user_id] = (caller, time.monotonic() + _OWED_S)
            self._owed.move_to_end(caller.user_id)
            if len(self._owed) > _MOST_OWED:
                self._owed.popitem(last=False)
            incoming = self._waiting[call.id] = Incoming(call, caller, at)
            self.on_call(incoming)

    async def _receive(self, call: Any) -> bool:
        """phone.receivedCall: from then on the caller hears ringing. The link may still be coming up.

        Returns whether there may be a call still.
        """
        peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        deadline = time.monotonic() + _RECEIVE_S
        while (left := deadline - time.monotonic()) > 0 and not self._calls.is_over(call.id):
            try:
                await self._invoke(raw.functions.phone.ReceivedCall(peer=peer), patience=left)
                return True
            except Refusal as refusal:
                log.info("call not received", session=self._session_id, phone_call_id=call.id, why=refusal.phrase)
                if refusal.row.id not in ("session-disconnected", "telegram-timeout"):
                    return not refusal.detail.startswith(_OVER)
                await asyncio.sleep(_AGAIN_S)
        return False
