"""The QR code of a sign-in: https://core.telegram.org/api/qr-login. It is made anew before Telegram's token in it
ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass
from typing import Any

from pyrogram import raw

from teletrunk_session_store.telegram.kurigram import TelegramClient, UnexpectedAnswer, move

_RENEWED_S = 3.0  # before its end: whoever scans it then has no time to confirm
_DEADLINE_S = 20.0


@dataclass(frozen=True)
class ShownCode:
    url: str
    expires_at: float  # Unix time, by this machine's clock


class QrCode:
    """Of one client that nobody is signed in with."""

    def __init__(self, client: TelegramClient) -> None:
        self._client = client
        self._shown = ShownCode("", 0.0)
        self._accepted = asyncio.Event()  # until Telegram's next answer says what came of it
        client.on_updates = self._on_updates

    @property
    def is_accepted(self) -> bool:
        """Somebody has scanned it, and what came of that is not known here."""
        return self._accepted.is_set()

    async def show(self, wait_s: float = 0.0) -> ShownCode | Any:
        """What is to be shown now, or Telegram's authorization once that was scanned; so long it is waited for.

        For one caller at a time.
        Raises `SessionPasswordNeeded` and whatever else Telegram, the link or the library comes up with.
        """
        left = self._shown.expires_at - _RENEWED_S - time.time()
        if left > 0 and not self._accepted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, left)):
                    await self._accepted.wait()
            if wait_s < left and not self._accepted.is_set():
                return self._shown
        async with asyncio.timeout(_DEADLINE_S):
            return await self._asked()

    async def _asked(self) -> ShownCode | Any:
        query = raw.functions.auth.ExportLoginToken(
            api_id=self._client.api_id, api_hash=self._client.api_hash, except_ids=[]
        )
        answer = await self._client.invoke(query, retries=1)
        if isinstance(answer, raw.types.auth.LoginTokenMigrateTo):
            await move(self._client, answer.dc_id)
            answer = await self._client.invoke(raw.functions.auth.ImportLoginToken(token=answer.token), retries=1)
        if isinstance(answer, raw.types.auth.LoginTokenSuccess):
            return answer.authorization
        if not isinstance(answer, raw.types.auth.LoginToken):
            raise UnexpectedAnswer(answer)
        self._accepted.clear()
        token = base64.urlsafe_b64encode(answer.token).decode().rstrip("=")
        self._shown = ShownCode(f"tg://login?token={token}", answer.expires + self._client.clock_ahead)
        return self._shown

    def _on_updates(self, updates: Any) -> None:
        told = getattr(updates, "updates", None) or [getattr(updates, "update", None)]
        if any(isinstance(update, raw.types.UpdateLoginToken) for update in told):
            self._accepted.set()
