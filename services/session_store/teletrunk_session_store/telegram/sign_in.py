"""Signing an account in: phone, code, two-step password. Each attempt is a client of its own until it succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

from pyrogram import Client
from pyrogram.errors import BadRequest, RPCError, SessionPasswordNeeded

from teletrunk_session_store.telegram import failures
from teletrunk_session_store.telegram.clients import Clients

_ATTEMPT_LIFETIME_S = 900.0
_MOST_ATTEMPTS = 20
_DEADLINE_S = 30.0


class SignInError(Exception):
    """One line for the person who signs in: what was wrong and what to do."""


@dataclass
class Attempt:
    client: Client
    phone: str
    code_hash: str
    born: float


@dataclass(frozen=True)
class Success:
    """The session string is the account itself: it goes straight into the vault."""

    session: str
    user: Any

    def __repr__(self) -> str:
        return "Success()"


_WORDS = {
    "PHONE_CODE_INVALID": "the code is wrong: check it and try again",
    "PHONE_CODE_EMPTY": "the code is missing",
    "PHONE_CODE_EXPIRED": "the code has expired: start again to get a new one",
    "PASSWORD_HASH_INVALID": "the two-step password is wrong",
    "PHONE_NUMBER_INVALID": "Telegram knows no such phone number",
    "PHONE_NUMBER_BANNED": "Telegram has banned this phone number",
    "PHONE_NUMBER_UNOCCUPIED": "this phone number has no Telegram account: sign it up in a Telegram app first",
}


class SignIns:
    """The attempts under way."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._attempts: dict[str, Attempt] = {}

    async def start(self, phone: str) -> tuple[str, str]:
        """Asks Telegram for a code. Returns the attempt's id and how the code travels."""
        await self._forget_old()
        if len(self._attempts) >= _MOST_ATTEMPTS:
            raise SignInError("too many sign-ins are under way: try again in some minutes")
        attempt_id = secrets.token_urlsafe(12)
        client = self._clients.make(f"sign-in-{attempt_id}")
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await client.connect()
                sent = await client.send_phone_number_code(phone)
        except (RPCError, OSError, TimeoutError) as error:
            await _close(client)
            raise _explained(error) from None
        self._attempts[attempt_id] = Attempt(client, phone, sent.phone_code_hash, time.monotonic())
        return attempt_id, str(getattr(sent.type, "name", sent.type)).lower()

    async def code(self, attempt_id: str, code: str) -> Success | str:
        """The signed-in session, or the hint of the two-step password that is still needed."""
        attempt = self._find(attempt_id)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                user = await attempt.client.sign_in(attempt.phone, attempt.code_hash, code.strip())
        except SessionPasswordNeeded:
            return await self._hint(attempt)
        except (RPCError, OSError, TimeoutError) as error:
            if "EXPIRED" in failures.word(error) if isinstance(error, RPCError) else False:
                await self._drop(attempt_id)
            raise _explained(error) from None
        if not hasattr(user, "id"):
            await self._drop(attempt_id)
            raise SignInError(_WORDS["PHONE_NUMBER_UNOCCUPIED"])
        return await self._succeed(attempt_id)

    async def password(self, attempt_id: str, password: str) -> Success:
        attempt = self._find(attempt_id)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await attempt.client.check_password(password)
        except (RPCError, OSError, TimeoutError) as error:
            raise _explained(error) from None
        return await self._succeed(attempt_id)

    async def close(self) -> None:
        for attempt_id in list(self._attempts):
            await self._drop(attempt_id)

    async def _hint(self, attempt: Attempt) -> str:
        with contextlib.suppress(RPCError, OSError, TimeoutError):
            return await asyncio.wait_for(attempt.client.get_password_hint(), _DEADLINE_S) or ""
        return ""

    async def _succeed(self, attempt_id: str) -> Success:
        client = self._attempts[attempt_id].client
        async with asyncio.timeout(_DEADLINE_S):
            user = await client.get_me()
            session = await client.export_session_string()
        # Closed before the session is used elsewhere: one key in two places is destroyed by Telegram.
        await self._drop(attempt_id)
        return Success(session, user)

    def _find(self, attempt_id: str) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            raise SignInError("this sign-in is over: start again")
        return attempt

    async def _drop(self, attempt_id: str) -> None:
        if attempt := self._attempts.pop(attempt_id, None):
            await _close(attempt.client)

    async def _forget_old(self) -> None:
        limit = time.monotonic() - _ATTEMPT_LIFETIME_S
        for attempt_id in [key for key, attempt in self._attempts.items() if attempt.born < limit]:
            await self._drop(attempt_id)


def _explained(error: Exception) -> SignInError:
    if isinstance(error, RPCError):
        name = failures.word(error)
        for known, text in _WORDS.items():
            if known in name:
                return SignInError(text)
        if isinstance(error, BadRequest):
            return SignInError(f"Telegram refuses: {name}")
        refusal = failures.refusal_of(error)
        return SignInError(refusal.phrase)
    return SignInError("Telegram does not answer: check the network of the Session Storage")


async def _close(client: Client) -> None:
    with contextlib.suppress(Exception):  # thrown away, in whatever state
        async with asyncio.timeout(5):
            await client.disconnect()
