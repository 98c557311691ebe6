"""What Telegram tells a session without being asked: each update goes to what it concerns, missed ones are fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrogram import raw

from teletrunk_session_store.telegram import requests
from teletrunk_session_store.telegram.incoming import IncomingCalls
from teletrunk_session_store.telegram.kurigram import TelegramClient
from teletrunk_session_store.telegram.open_calls import OpenCalls
from teletrunk_session_store.telegram.update_state import LONGEST_RINGING_S, UpdateState, contained, ended_call

_MOST_SLICES = 20


class Updates:
    """One session's. Nothing is waited for while they are taken: not for an answer, not for the vault."""

    def __init__(
        self,
        incoming: IncomingCalls,
        open_calls: OpenCalls,
        remember: Callable[[list[Any]], None],
        on_missed: Callable[[], None],
    ) -> None:
        """`remember` is given users that Telegram has named; `on_missed` hears that some updates did not come."""
        self._incoming = incoming
        self._open_calls = open_calls
        self._calls = open_calls.calls
        self._remember = remember
        self._on_missed = on_missed
        self._state = UpdateState()
        self.missed = False  # some did not come, and are to be fetched

    def begin_anew(self) -> None:
        """Telegram does not know the state that it was asked from."""
        self._state = UpdateState()

    def take(self, updates: Any) -> None:
        users = {user.id: user for user in getattr(updates, "users", ())}
        for update in contained(updates):
            self._on_update(update, users)
        self.follow(updates)

    def follow(self, updates: Any) -> None:
        """Notices when some are missing: one may only have been overtaken, and the others are fetched."""
        if self._state.is_known and self._state.misses(updates) and not self.missed:
            self.missed = True
            self._on_missed()

    async def catch_up(self, client: TelegramClient) -> None:
        """updates.getDifference: what came while nobody was there, or got lost on its way."""
        if not self._state.is_known:
            self._state.begin(await requests.asked(client, raw.functions.updates.GetState()))
        self.missed = False
        for _ in range(_MOST_SLICES):
            difference = await requests.asked(client, self._state.question())
            self._on_difference(difference)
            if self._state.take(difference):
                return

    def _on_update(self, update: Any, users: dict[int, Any]) -> None:
        match update:
            case raw.types.UpdatePhoneCall(phone_call=raw.types.PhoneCallRequested() as call):
                self._incoming.requested(call, users)
                self._remember(list(users.values()))
            case raw.types.UpdatePhoneCall(phone_call=call):
                self._on_call(call)
            case raw.types.UpdatePhoneCallSignalingData():
                self._calls.pass_on(update.phone_call_id, update)
            case raw.types.UpdateNewMessage(message=message):
                self._on_message(message, users)

    def _on_call(self, call: Any) -> None:
        if isinstance(call, raw.types.PhoneCallDiscarded):
            self._incoming.take(call.id)
        self._calls.pass_on(call.id, call)

    def _on_message(self, message: Any, users: dict[int, Any]) -> None:
        if (ended := ended_call(message)) is not None:
            self._on_call(ended)
        elif isinstance(getattr(message, "peer_id", None), raw.types.PeerUser):
            self._remember(list(users.values()))  # who only shares a group is not worth remembering

    def _on_difference(self, difference: Any) -> None:
        users = {user.id: user for user in getattr(difference, "users", ())}
        state = getattr(difference, "state", None)
        for message in getattr(difference, "new_messages", ()):
            self._on_message(message, users)
        for update in getattr(difference, "other_updates", ()):
            match update:
                case raw.types.UpdatePhoneCall(phone_call=raw.types.PhoneCallRequested() as call):
                    waits = state is None or call.date > state.date - LONGEST_RINGING_S
                    if waits and call.id not in self._open_calls:
                        self._incoming.missed(call, users)
                        self._remember(list(users.values()))
                case _:
                    self._on_update(update, users)
