"""Whose call an update is about: an attached one, one that nobody has taken yet, or one that was given up.

An update can overtake the answer to the phone.requestCall that made its call; and a request can be given up before it
is answered, when its call has no id yet with which it could be discarded. Then the callee's phone rings for nobody,
until the answer or an update brings the id. What was fetched of the past may come a second time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pyrogram import raw

LATE_ANSWER_S: Final = 100.0  # a call that nobody answers is over at Telegram by then
_KEPT_S = 30.0  # longer than anybody waits for the answer
_MOST_KEPT = 200  # of one call
_KNOWN_S = 300.0  # longer than an old update can come again
_NAMES_ITS_CALL = (raw.types.PhoneCallWaiting, raw.types.PhoneCallAccepted)


class CallListener(Protocol):
    """A call that wants its updates."""

    def on_update(self, update: Any) -> None: ...

    def on_lost(self) -> None:
        """The session has ended here: nothing more will be heard of the call."""
        ...


@dataclass(eq=False)
class CallRequest:
    """A phone.requestCall that is not answered yet; given up, when nobody waits for its answer any more."""

    callee_id: int
    random_id: int
    given_up: bool = False


class PhoneCalls:
    """The calls of one session."""

    def __init__(self, discard: Callable[[Any, CallRequest], None]) -> None:
        """`discard` is told of calls (their updates) whose request was given up."""
        self._discard = discard
        self._listeners: dict[int, CallListener] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()
        self._early: dict[int, list[tuple[float, Any]]] = {}
        self._requests: set[CallRequest] = set()
        self._inherited: set[CallRequest] = set()
        self._heard: dict[int, float] = {}  # calls to the account
        self._finished: dict[int, float] = {}

    def __contains__(self, phone_call_id: int) -> bool:
        return phone_call_id in self._listeners

    def __bool__(self) -> bool:
        """Whether there are any, also such as have no id yet."""
        return bool(self._listeners or self._requests)

    def listeners(self) -> list[CallListener]:
        return list(self._listeners.values())

    def attach(self, phone_call_id: int, listener: CallListener) -> None:
        """From now on `listener` gets the call's updates, those that came early first."""
        self._listeners[phone_call_id] = listener
        self.none_left.clear()
        for _, update in self._early.pop(phone_call_id, []):
            listener.on_update(update)
        self._discard_given_up()

    def detach(self, phone_call_id: int) -> None:
        """It is over, for us at least."""
        self._listeners.pop(phone_call_id, None)
        if not self._listeners:
            self.none_left.set()
        _note(self._finished, phone_call_id)

    def pass_on(self, phone_call_id: int, update: Any) -> None:
        if listener := self._listeners.get(phone_call_id):
            listener.on_update(update)
            return
        if phone_call_id in self._finished:
            return
        now = time.monotonic()
        self._early = {key: kept for key, kept in self._early.items() if now - kept[-1][0] < _KEPT_S}
        kept = self._early.setdefault(phone_call_id, [])
        if len(kept) < _MOST_KEPT:
            kept.append((now, update))
        self._discard_given_up()

    def is_finished(self, phone_call_id: int) -> bool:
        """Whether a call was ours, and is no more."""
        return phone_call_id in self._finished

    # Calls to the account.

    def is_new(self, phone_call_id: int) -> bool:
        """Whether a call to the account is heard of for the first time."""
        if phone_call_id in self._heard:
            return False
        _note(self._heard, phone_call_id)
        return True

    def is_over(self, phone_call_id: int) -> bool:
        """Whether a call that is nobody's yet has ended."""
        return any(isinstance(update, raw.types.PhoneCallDiscarded) for _, update in self._early.get(phone_call_id, ()))

    # Requests.

    def ask_for(self, callee_id: int, random_id: int) -> CallRequest:
        request = CallRequest(callee_id, random_id)
        self._requests.add(request)
        return request

    def inherit(self, request: CallRequest) -> None:
        """Another process has made it, and ended before the answer."""
        if not any(known.random_id == request.random_id for known in (*self._requests, *self._inherited)):
            self._inherited.add(request)
            self._discard_given_up()

    def give_up(self, request: CallRequest) -> None:
        """Nobody waits for its answer any more."""
        request.given_up = True
        self._discard_given_up()

    def answered(self, request: CallRequest) -> None:
        """Whoever made it attaches its call in the same step: between the two it would look like one given up."""
        self._requests.discard(request)
        self._inherited.discard(request)

    def forget(self, random_id: int) -> None:
        """Whatever that request has begun is over."""
        for requests in (self._requests, self._inherited):
            requests.difference_update({request for request in requests if request.random_id == random_id})

    def _discard_given_up(self) -> None:
        """Which of several requests to one person a call belongs to is not known, unless all of them were given up."""
        for phone_call_id, kept in list(self._early.items()):
            call = next((update for _, update in kept if isinstance(update, _NAMES_ITS_CALL)), None)
            if call is None:
                continue
            pending = (*self._requests, *self._inherited)
            possible = [request for request in pending if request.callee_id == call.participant_id]
            if possible and all(request.given_up for request in possible):
                del self._early[phone_call_id]
                self.answered(possible[0])
                self.detach(phone_call_id)
                self._discard(call, possible[0])


def _note(times: dict[int, float], phone_call_id: int) -> None:
    """Remembers a call for as long as something old may be told of it."""
    now = time.monotonic()
    for each in [each for each, since in times.items() if now - since > _KNOWN_S]:
        del times[each]
    times[phone_call_id] = now
