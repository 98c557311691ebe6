"""Signing an account in: phone and code, or a QR code; two-step password. Each attempt is a client of its own until it
succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog
from pyrogram import raw
from pyrogram.errors import BadRequest, Flood, RPCError, SessionPasswordNeeded, Unauthorized
from pyrogram.utils import compute_password_check
from teletrunk.session_proof import id_of, proof_of
from teletrunk.sign_in import WRONG_CODE, WRONG_PASSWORD

from teletrunk_session_store.telegram import failures
from teletrunk_session_store.telegram.clients import Clients
from teletrunk_session_store.telegram.known_peers import peer_of
from teletrunk_session_store.telegram.kurigram import BadMessage, TelegramClient, UnexpectedAnswer, close
from teletrunk_session_store.telegram.qr_code import QrCode, ShownCode
from teletrunk_session_store.vault.store import KnownPeer

log = structlog.get_logger()
Answer = TypeVar("Answer")

_ATTEMPT_LIFETIME_S = 900.0
_MOST_ATTEMPTS = 20
_LEFT_S = 60.0  # after so long an attempt makes room for another
_DEADLINE_S = 30.0
NO_CODE = "none"  # how the code travels when Telegram asks for none


class SignInError(Exception):
    """One line for the person who signs in: what was wrong and what to do."""


@dataclass(frozen=True)
class Success:
    """The session string is the account itself: it goes straight into the vault."""

    session: str = field(repr=False)
    user: KnownPeer = field(repr=False)

    @property
    def session_id(self) -> str:
        return id_of(proof_of(self.session))


@dataclass
class Attempt:
    client: TelegramClient
    phone: str  # digits; empty: whoever scans the QR code
    born: float
    code_hash: str = ""
    qr_code: QrCode | None = None
    password_hint: str | None = None  # of the password that is due since the QR code was scanned
    by_email: bool = False
    touched: float = field(default_factory=time.monotonic)
    success: Success | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # of those who wait for one QR code


_WORDS = {
    "PHONE_CODE_INVALID": f"{WRONG_CODE}: check it and try again",
    "PHONE_CODE_EMPTY": "the code is missing",
    "PHONE_CODE_EXPIRED": "the code has expired: start again to get a new one",
    "SEND_CODE_UNAVAILABLE": "Telegram has no other way to send a code: use the one that it has sent",
    "EMAIL_CODE_INVALID": f"{WRONG_CODE}: check it and try again",
    "PASSWORD_HASH_INVALID": WRONG_PASSWORD,
    "PHONE_NUMBER_INVALID": "Telegram knows no such phone number",
    "PHONE_NUMBER_BANNED": "Telegram has banned this phone number",
    "PHONE_NUMBER_UNOCCUPIED": "this phone number has no Telegram account: sign it up in a Telegram app first",
}
_WANTED_FIRST = {
    raw.types.auth.SentCodePaymentRequired: "Telegram wants a payment before it sends a code to this number: sign it "
    "in in a Telegram app first, then codes come to that app",
    raw.types.auth.SentCodeTypeSetUpEmailRequired: "Telegram wants an e-mail address for this number before it sends a "
    "code: sign it in in a Telegram app, set the address there, then try again",
    raw.types.auth.SentCodeTypeFirebaseSms: "Telegram sends a code to this number only for its own phone app: sign it "
    "in there first, then codes come to that app",
}
# What the library says in bare exceptions.
_KEY_IS_ANOTHER, _NO_SUCH_DC = "Public key not found", re.compile(r"DC\d+ not found|No suitable DC")


class SignIns:
    """The attempts under way."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._attempts: dict[str, Attempt] = {}

    async def start(self, phone: str) -> tuple[str, str]:
        """Asks Telegram for a code. Returns the attempt's id and how the code travels. Raises `SignInError`."""
        return await self._begin(re.sub(r"\D", "", phone), self._send_code)

    async def start_by_qr(self) -> tuple[str, ShownCode]:
        """Returns the attempt's id and what to show. Raises `SignInError`."""
        return await self._begin("", _first_code)

    async def _begin(self, phone: str, ask: Callable[[Attempt], Awaitable[Answer]]) -> tuple[str, Answer]:
        await self._make_room(phone)
        attempt_id = secrets.token_urlsafe(12)
        client = self._clients.make(f"sign-in-{attempt_id}")
        attempt = Attempt(client, phone, time.monotonic())
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await client.connect()
                answer = await ask(attempt)
            self._attempts[attempt_id] = attempt
        except Exception as error:  # the library raises bare ones too
            raise self._explained(error) from None
        finally:
            if attempt_id not in self._attempts:
                await close(client)
        return attempt_id, answer

    async def _send_code(self, attempt: Attempt) -> str:
        try:
            sent = await attempt.client.send_phone_number_code(attempt.phone)
        except UnexpectedAnswer as error:
            if not isinstance(error.answer, raw.types.auth.SentCodeSuccess):
                raise
            await self._succeed(attempt, error.answer.authorization)
            return NO_CODE
        return _sent(attempt, sent)

    async def scanned(self, attempt_id: str, wait_s: float) -> Success | ShownCode | str:
        """The signed-in session; or what to show, if nobody scans it so long; or the hint of the two-step password.

        Raises `SignInError`.
        """
        attempt = self._find(attempt_id)
        if attempt.qr_code is None:
            raise SignInError("this sign-in goes by a code that Telegram has sent: submit that")
        try:
            async with attempt.turn:  # whoever waited before may have been told of the success
                return attempt.success or await self._scanned(attempt, attempt.qr_code, wait_s)
        except SessionPasswordNeeded:
            attempt.password_hint = await self._hint(attempt)
            return attempt.password_hint
        except Exception as error:  # the library raises bare ones too
            raise self._explained(error) from None

    async def _scanned(self, attempt: Attempt, code: QrCode, wait_s: float) -> Success | ShownCode | str:
        if attempt.password_hint is not None:
            return attempt.password_hint
        answer_was_lost = code.is_accepted
        answer = await code.show(wait_s)
        if not isinstance(answer, ShownCode):
            return await self._succeed(attempt, answer)
        if answer_was_lost and (user := await self._signed_in_already(attempt.client)) is not None:
            return await self._keep(attempt, user)
        return answer

    async def resend(self, attempt_id: str) -> str:
        """Another code, by the next way that Telegram has; returns that way. Raises `SignInError`."""
        attempt = self._find(attempt_id)
        if attempt.success or attempt.qr_code is not None:
            return NO_CODE
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return _sent(attempt, await attempt.client.resend_phone_number_code(attempt.phone, attempt.code_hash))
        except Exception as error:  # the library raises bare ones too
            raise self._explained(error) from None

    async def code(self, attempt_id: str, code: str) -> Success | str:
        """The signed-in session, or the hint of the two-step password that is still needed. Raises `SignInError`.

        What has succeeded stays so: the same attempt gives the same session until it is `finished`.
        """
        attempt = self._find(attempt_id)
        if attempt.qr_code is not None:
            raise SignInError("this sign-in wants no code: scan the QR code")
        try:
            return attempt.success or await self._submit(attempt, code.strip())
        except SessionPasswordNeeded:
            return await self._hint(attempt)
        except Exception as error:
            explained = self._explained(error)
            if str(explained) in (_WORDS["PHONE_CODE_EXPIRED"], _WORDS["PHONE_NUMBER_UNOCCUPIED"]):
                await self._drop(attempt_id)
            raise explained from None

    async def _submit(self, attempt: Attempt, code: str) -> Success:
        given = {"email_verification": raw.types.EmailVerificationCode(code=code)} if attempt.by_email else {}
        query = raw.functions.auth.SignIn(
            phone_number=attempt.phone, phone_code_hash=attempt.code_hash, **(given or {"phone_code": code})
        )
        async with asyncio.timeout(_DEADLINE_S):
            try:
                answer = await attempt.client.invoke(query, retries=1)
            except BadRequest as error:
                if failures.word(error) != "PHONE_CODE_EXPIRED":
                    raise
                # It is spent, too, when it was right and the answer was lost.
                if (user := await self._signed_in_already(attempt.client)) is None:
                    raise
                return await self._keep(attempt, user)
            return await self._succeed(attempt, answer)

    async def password(self, attempt_id: str, password: str) -> Success:
        """Raises `SignInError`."""
        attempt = self._find(attempt_id)
        if attempt.success:
            return attempt.success
        client = attempt.client
        try:
            async with asyncio.timeout(_DEADLINE_S):
                asked = await client.invoke(raw.functions.account.GetPassword(), retries=1)
                check = compute_password_check(asked, password)
                answer = await client.invoke(raw.functions.auth.CheckPassword(password=check), retries=1)
                return await self._succeed(attempt, answer)
        except Exception as error:
            raise self._explained(error) from None

    def finished(self, attempt_id: str) -> None:
        """Its session is in the vault."""
        self._attempts.pop(attempt_id, None)

    async def close(self) -> None:
        for attempt_id in list(self._attempts):
            await self._drop(attempt_id)

    async def _hint(self, attempt: Attempt) -> str:
        with contextlib.suppress(RPCError, OSError, TimeoutError):
            async with asyncio.timeout(_DEADLINE_S):
                return await attempt.client.get_password_hint() or ""
        return ""

    async def _signed_in_already(self, client: TelegramClient) -> Any:
        """The user, or None. Raises `SessionPasswordNeeded` when that is what is still missing."""
        with contextlib.suppress(Unauthorized):
            return (await client.invoke(raw.functions.users.GetUsers(id=[raw.types.InputUserSelf()]), retries=1))[0]
        try:
            await client.invoke(raw.functions.account.GetPassword(), retries=1)  # answered once the code was right
        except Unauthorized:
            return None
        raise SessionPasswordNeeded

    async def _succeed(self, attempt: Attempt, answer: Any) -> Success:
        if isinstance(answer, raw.types.auth.AuthorizationSignUpRequired):
            raise SignInError(_WORDS["PHONE_NUMBER_UNOCCUPIED"])
        if not isinstance(answer, raw.types.auth.Authorization):
            raise UnexpectedAnswer(answer)
        return await self._keep(attempt, answer.user)

    async def _keep(self, attempt: Attempt, user: Any) -> Success:
        """Nothing is asked of Telegram any more that it could refuse."""
        storage = attempt.client.storage
        await storage.user_id(user.id)
        await storage.is_bot(False)
        peer = peer_of(user)
        shown = replace(peer, username=user.username or peer.username)  # as its owner writes it
        attempt.success = Success(await attempt.client.export_session_string(), shown)
        # Closed before the session is used elsewhere: one key in two places is destroyed by Telegram.
        await close(attempt.client)
        return attempt.success

    def _find(self, attempt_id: str) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            raise SignInError("this sign-in is over: start again")
        attempt.touched = time.monotonic()
        return attempt

    async def _drop(self, attempt_id: str) -> None:
        if attempt := self._attempts.pop(attempt_id, None):
            await close(attempt.client)

    async def _make_room(self, phone: str) -> None:
        """Drops what is too old, what this number's new code makes void, and of too many the one longest left alone."""
        now = time.monotonic()
        for attempt_id, attempt in list(self._attempts.items()):
            if now - attempt.born > _ATTEMPT_LIFETIME_S or (
                phone and attempt.phone == phone and attempt.success is None
            ):
                await self._drop(attempt_id)
        if len(self._attempts) < _MOST_ATTEMPTS:
            return
        oldest = min(self._attempts, key=lambda attempt_id: self._attempts[attempt_id].touched)
        if now - self._attempts[oldest].touched < _LEFT_S:
            raise SignInError("too many sign-ins are under way: try again in a minute")
        await self._drop(oldest)

    def _explained(self, error: Exception) -> SignInError:
        """One sentence for whatever Telegram, the link or the library came up with."""
        match error:
            case SignInError():
                return error
            case BadMessage():
                self._clients.learn(error)
                return SignInError(f"{error}: set it right (NTP), then try again")
            case UnexpectedAnswer():
                wanted = _WANTED_FIRST.get(type(error.answer))
                return SignInError(wanted or f"Telegram's answer is not understood here: {error}")
            case Flood() if isinstance(error.value, int):
                return SignInError(f"Telegram wants a pause: try again in {error.value} s")
            case RPCError():
                return _refused(error)
            case OSError() | TimeoutError():
                return SignInError("Telegram does not answer: check the network of the Session Storage")
            case _ if str(error) == _KEY_IS_ANOTHER:
                return SignInError(
                    "the server has another key than this Session Storage trusts: see TELETRUNK_TELEGRAM_RSA_KEY_FILE"
                )
            case _ if _NO_SUCH_DC.search(str(error)):
                return SignInError(f"Telegram sends this number to a data centre that it does not name: {error}")
        log.error("sign-in failed", exc_info=error)
        return SignInError(f"the sign-in failed ({type(error).__name__}): the Session Storage's log says more")


async def _first_code(attempt: Attempt) -> ShownCode:
    attempt.qr_code = QrCode(attempt.client)
    answer = await attempt.qr_code.show()
    if not isinstance(answer, ShownCode):
        raise UnexpectedAnswer(answer)
    return answer


def _sent(attempt: Attempt, sent: Any) -> str:
    """How the code travels. Raises `SignInError` when something else is wanted first."""
    kind = sent.type.value
    if kind in _WANTED_FIRST:
        raise SignInError(_WANTED_FIRST[kind])
    attempt.code_hash, attempt.by_email = sent.phone_code_hash, kind is raw.types.auth.SentCodeTypeEmailCode
    return str(sent.type.name).lower()


def _refused(error: RPCError) -> SignInError:
    name = failures.word(error)
    for known, text in _WORDS.items():
        if known in name:
            return SignInError(text)
    if isinstance(error, BadRequest):
        return SignInError(f"Telegram refuses: {name}")
    return SignInError(failures.refusal_of(error).phrase)
