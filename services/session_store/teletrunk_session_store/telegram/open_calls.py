"""What is open at Telegram in our name: noted before it can be, and until Telegram knows that it is over.

A phone.requestCall is noted before it is sent, under its random_id; its call under its id, once that is known. Whoever
runs the session next, should this process die, discards what is still noted: the calls at once, and of the requests
those whose call Telegram tells of.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from pyrogram import raw
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal

from teletrunk_session_store.telegram.phone_calls import LATE_ANSWER_S, CallRequest, PhoneCalls
from teletrunk_session_store.vault.store import LeftRequest, Vault, best_effort

log = structlog.get_logger()

_OVER = "CALL_"  # what Telegram's errors about a call that has ended, or is not ours, begin with


class OpenCalls:
    """Those of one session. A call does not depend on the vault, nor wait for it."""

    def __init__(self, session_id: str, vault: Vault, invoke: Callable[[Any], Awaitable[Any]]) -> None:
        self._session_id = session_id
        self._vault = vault
        self._invoke = invoke
        self.calls = PhoneCalls(self.discard_given_up)
        self._to_discard: dict[int, int] = {}  # calls that Telegram does not know to be over yet: access hashes by id
        self._asked: dict[int, float] = {}  # requests without an answer: when they were made, by random_id
        self._noting_requests: dict[int, asyncio.Task[None]] = {}
        self._noting: dict[int, asyncio.Task[None]] = {}
        self._telling: asyncio.Task[None] | None = None
        self._background = BackgroundTasks()

    def __contains__(self, phone_call_id: int) -> bool:
        """Whether a call is still to be discarded."""
        return phone_call_id in self._to_discard

    async def settle(self, seconds: float) -> None:
        await self._background.settle(seconds)

    # Requests.

    def note_request(self, callee_id: int) -> int:
        """Begins to note one that is about to be made; returns its random_id."""
        random_id = random.randint(1, 0x7FFFFFFF)
        self._asked[random_id] = time.time()
        writing = self._vault.note_request(self._session_id, LeftRequest(random_id, callee_id, time.time()))
        self._noting_requests[random_id] = self._background.run(_after(None, writing))
        return random_id

    async def request_is_noted(self, random_id: int) -> None:
        """Waits until it may be made."""
        if noting := self._noting_requests.pop(random_id, None):
            await asyncio.wait({noting})

    async def forget_request(self, random_id: int) -> None:
        """It has begun no call."""
        self._asked.pop(random_id, None)
        await self.request_is_noted(random_id)
        async with best_effort():
            await self._vault.forget_request(self._session_id, random_id)

    def refused(self, random_id: int) -> None:
        """Telegram has said no to it, or was not asked."""
        self._background.run(self.forget_request(random_id))

    async def forget_old_requests(self) -> None:
        """What they may have begun is over at Telegram by now."""
        for random_id, asked_at in list(self._asked.items()):
            if time.time() - asked_at > LATE_ANSWER_S:
                self.calls.forget(random_id)
                await self.forget_request(random_id)

    # Calls.

    def note(self, phone_call_id: int, access_hash: int, random_id: int | None = None) -> None:
        """A call that has begun, by this request."""
        if random_id is not None:
            self._asked.pop(random_id, None)
        writing = self._vault.note_call(self._session_id, phone_call_id, access_hash, random_id)
        self._noting[phone_call_id] = self._background.run(_after(self._noting.get(phone_call_id), writing))

    async def is_over(self, phone_call_id: int) -> None:
        """Telegram knows it: nothing is left to be done."""
        self._to_discard.pop(phone_call_id, None)
        if noting := self._noting.pop(phone_call_id, None):
            await asyncio.wait({noting})
        async with best_effort():
            await self._vault.forget_call(self._session_id, phone_call_id)

    async def discard(self, peer: Any, reason: Any, duration: int = 0) -> None:
        """phone.discardCall. What cannot be told now is told when the link is back, or by a successor."""
        query = raw.functions.phone.DiscardCall(peer=peer, duration=duration, reason=reason, connection_id=0)
        told = False
        try:
            await self._invoke(query)
            told = True
        except Refusal as refusal:
            again = peer.id in self._to_discard and refusal.row.id == "telegram-error"  # its second no is an answer too
            told = again or refusal.detail.startswith(_OVER)
            if not told:
                log.warning(
                    "call not discarded yet", session=self._session_id, phone_call_id=peer.id, why=refusal.phrase
                )
        finally:
            if not told:
                self._to_discard[peer.id] = peer.access_hash
        if told:
            await self.is_over(peer.id)
        else:
            self.note(peer.id, peer.access_hash)

    def discard_given_up(self, call: Any, request: CallRequest) -> None:
        """The call of a request that was given up, when it is heard of after all."""
        log.info("call discarded that was given up", session=self._session_id, phone_call_id=call.id)
        self._background.run(self._end_given_up(call, request))

    async def _end_given_up(self, call: Any, request: CallRequest) -> None:
        peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        await self.discard(peer, raw.types.PhoneCallDiscardReasonMissed())
        await self.forget_request(request.random_id)

    # What a Storage that crashed has left.

    async def find_left(self) -> None:
        """Nobody carries these calls, and the other side should not wait."""
        async with best_effort():
            for phone_call_id, access_hash in await self._vault.left_calls(self._session_id):
                if phone_call_id not in self.calls:
                    self._to_discard[phone_call_id] = access_hash
            for left in await self._vault.left_requests(self._session_id):
                self._asked.setdefault(left.random_id, left.asked_at)
                self.calls.inherit(CallRequest(left.callee_id, left.random_id, given_up=True))

    def tell(self) -> None:
        """Discards what could not be discarded before. Nobody waits for it."""
        if self._telling is None or self._telling.done():
            self._telling = self._background.run(self._tell())

    async def _tell(self) -> None:
        await self.forget_old_requests()
        for phone_call_id, access_hash in list(self._to_discard.items()):
            peer = raw.types.InputPhoneCall(id=phone_call_id, access_hash=access_hash)
            await self.discard(peer, raw.types.PhoneCallDiscardReasonDisconnect())


async def _after(earlier: asyncio.Task[None] | None, writing: Coroutine[Any, Any, None]) -> None:
    """What is noted of one call is noted in order."""
    if earlier is not None:
        await asyncio.wait({earlier})
    async with best_effort():
        await writing
