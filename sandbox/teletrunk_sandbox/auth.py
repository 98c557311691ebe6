"""Signing in and out: https://core.telegram.org/api/auth."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import srp, tl
from teletrunk_sandbox.accounts import digits_of
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request, unauthorized
from teletrunk_sandbox.state import User

log = structlog.get_logger(__name__)

CODE_SECONDS = 300.0
CODE_DIGITS = 5
_RESEND_SECONDS = 60


@dataclass(slots=True)
class LoginCode:
    """A code on its way to a phone."""

    code: str
    hash: str
    expires: float
    by_email: bool = False  # then it counts only as a verified e-mail, not as a code


class SignIns:
    """Sign-ins that are under way; none of it outlives a restart."""

    def __init__(self, letterbox: Path, code: str = "") -> None:
        """Codes also go into files of that directory, one a phone number, for whoever cannot read the log.

        `code` is what everybody is sent, if it is given.
        """
        self._code = code
        self._letterbox = letterbox
        letterbox.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._codes: dict[str, LoginCode] = {}
        self._exports: dict[bytes, int] = {}
        self._challenges: dict[bytes, srp.Challenge] = {}
        self._awaiting_password: dict[bytes, int] = {}

    def send_code(self, phone: str, by_email: bool = False) -> LoginCode:
        """Make a new code; the log is the phone that it arrives on."""
        digits = self._code or f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        code = LoginCode(digits, secrets.token_hex(9), time.monotonic() + CODE_SECONDS, by_email)
        self._codes[phone] = code
        log.info(f"login code for +{phone}: {digits}")
        (self._letterbox / phone).write_text(f"{digits}\n")
        return code

    def last_code(self, phone: str) -> LoginCode | None:
        """The code that was sent last."""
        return self._codes.get(phone)

    def cancel(self, phone: str) -> None:
        """The code is of no use any more."""
        self._codes.pop(phone, None)

    def check_code(self, phone: str, code_hash: str, query: raw.functions.auth.SignIn) -> None:
        """Raise what is wrong with a code, if anything."""
        sent = self.check_hash(phone, code_hash)
        code = query.phone_code
        if sent.by_email:
            code = getattr(query.email_verification, "code", None)
        if not code:
            raise bad_request("PHONE_CODE_EMPTY")
        if not secrets.compare_digest(code.encode(), sent.code.encode()):
            raise bad_request("PHONE_CODE_INVALID")

    def check_hash(self, phone: str, code_hash: str) -> LoginCode:
        """The code that a `phone_code_hash` belongs to, while it lasts."""
        sent = self._codes.get(phone)
        if sent is None or sent.hash != code_hash or time.monotonic() > sent.expires:
            raise bad_request("PHONE_CODE_EXPIRED")
        return sent

    def await_password(self, key_id: bytes, user: User) -> None:
        """The code was right, the password is still due."""
        self._awaiting_password[key_id] = user.id

    def awaited(self, key_id: bytes) -> int | None:
        """The user whose password an auth key has yet to give."""
        return self._awaiting_password.get(key_id)

    def challenge(self, key_id: bytes, user: User) -> srp.Challenge:
        """A new SRP challenge for an auth key."""
        assert user.password is not None
        self._challenges[key_id] = srp.Challenge.new(user.password)
        return self._challenges[key_id]

    def pass_challenge(self, key_id: bytes, check: TLObject[Any]) -> None:
        """Raise unless the check answers the auth key's challenge."""
        challenge = self._challenges.get(key_id)
        if not isinstance(check, raw.types.InputCheckPasswordSRP) or challenge is None:
            raise bad_request("SRP_ID_INVALID")
        challenge.check(check.srp_id, check.A, check.M1)
        del self._challenges[key_id]
        self._awaiting_password.pop(key_id, None)

    def export(self, user: User) -> bytes:
        """A ticket to sign another auth key in."""
        ticket = secrets.token_bytes(32)
        self._exports[ticket] = user.id
        return ticket

    def redeem(self, ticket: bytes) -> int:
        """The user of a ticket, once."""
        user_id = self._exports.pop(ticket, None)
        if user_id is None:
            raise bad_request("AUTH_BYTES_INVALID")
        return user_id


def _sent_code(code: LoginCode, to_app: bool) -> raw.types.auth.SentCode:
    kind = raw.types.auth.SentCodeTypeApp if to_app else raw.types.auth.SentCodeTypeSms
    return raw.types.auth.SentCode(
        type=kind(length=CODE_DIGITS),
        phone_code_hash=code.hash,
        next_type=raw.types.auth.CodeTypeSms(),
        timeout=_RESEND_SECONDS,
    )


def authorize(request: Request, user: User) -> raw.types.auth.Authorization:
    """Sign a user in with the auth key that asks."""
    authorization = request.authorization
    authorization.user_id, authorization.refusal = user.id, None
    request.dc.state.save_authorization(authorization)
    log.info("signed in", phone=user.phone, device=authorization.device.get("device_model"))
    return raw.types.auth.Authorization(user=request.dc.accounts.seen_by(user, user))


def _password_owner(request: Request) -> User:
    user_id = request.authorization.user_id or request.dc.sign_ins.awaited(request.authorization.key_id)
    if user_id is None:
        raise unauthorized("AUTH_KEY_UNREGISTERED")
    return request.dc.state.users[user_id]


@method(raw.functions.auth.SendCode, public=True)
def send_code(request: Request, query: raw.functions.auth.SendCode) -> tl.Answer:
    """auth.sendCode: a code to the app if the account is signed in somewhere, else by SMS."""
    phone = digits_of(query.phone_number)
    user = request.dc.accounts.by_phone(phone)
    if user and user.deactivated:
        raise bad_request("PHONE_NUMBER_BANNED")
    to_app = bool(user and request.dc.state.authorizations_of(user.id))
    return _sent_code(request.dc.sign_ins.send_code(phone), to_app)


@method(raw.functions.auth.ResendCode, public=True)
def resend_code(request: Request, query: raw.functions.auth.ResendCode) -> tl.Answer:
    """auth.resendCode: another code, by SMS."""
    phone = digits_of(query.phone_number)
    request.dc.sign_ins.check_hash(phone, query.phone_code_hash)
    return _sent_code(request.dc.sign_ins.send_code(phone), to_app=False)


@method(raw.functions.auth.CancelCode, public=True)
def cancel_code(request: Request, query: raw.functions.auth.CancelCode) -> tl.Answer:
    """auth.cancelCode: give up a sign-in."""
    phone = digits_of(query.phone_number)
    request.dc.sign_ins.check_hash(phone, query.phone_code_hash)
    request.dc.sign_ins.cancel(phone)
    return True


@method(raw.functions.auth.SignIn, public=True)
def sign_in(request: Request, query: raw.functions.auth.SignIn) -> tl.Answer:
    """auth.signIn: with the code; a password or a sign-up may have to follow."""
    phone = digits_of(query.phone_number)
    request.dc.sign_ins.check_code(phone, query.phone_code_hash, query)
    user = request.dc.accounts.by_phone(phone)
    if user is None:
        return raw.types.auth.AuthorizationSignUpRequired()
    request.dc.sign_ins.cancel(phone)
    if user.password:
        request.dc.sign_ins.await_password(request.authorization.key_id, user)
        raise unauthorized("SESSION_PASSWORD_NEEDED")
    return authorize(request, user)


@method(raw.functions.auth.SignUp, public=True)
def sign_up(request: Request, query: raw.functions.auth.SignUp) -> tl.Answer:
    """auth.signUp: a new account for a number whose code was right."""
    phone = digits_of(query.phone_number)
    request.dc.sign_ins.check_hash(phone, query.phone_code_hash)
    if request.dc.accounts.by_phone(phone):
        raise bad_request("PHONE_NUMBER_OCCUPIED")
    if not query.first_name.strip():
        raise bad_request("FIRSTNAME_INVALID")
    request.dc.sign_ins.cancel(phone)
    return authorize(request, request.dc.state.add_user(phone, query.first_name, query.last_name))


@method(raw.functions.auth.CheckPassword, public=True)
def check_password(request: Request, query: raw.functions.auth.CheckPassword) -> tl.Answer:
    """auth.checkPassword: the second factor."""
    user = _password_owner(request)
    request.dc.sign_ins.pass_challenge(request.authorization.key_id, query.password)
    return authorize(request, user)


@method(raw.functions.account.GetPassword, public=True)
def get_password(request: Request, query: raw.functions.account.GetPassword) -> tl.Answer:
    """account.getPassword: how to prove the password, if there is one."""
    user = _password_owner(request)
    answer = raw.types.account.Password(
        new_algo=raw.types.PasswordKdfAlgoUnknown(),
        new_secure_algo=raw.types.SecurePasswordKdfAlgoUnknown(),
        secure_random=secrets.token_bytes(256),
    )
    if user.password:
        challenge = request.dc.sign_ins.challenge(request.authorization.key_id, user)
        answer.has_password = True
        answer.srp_id, answer.srp_B = challenge.id, challenge.b_public
        answer.current_algo = raw.types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
            salt1=bytes.fromhex(user.password.salt1),
            salt2=bytes.fromhex(user.password.salt2),
            g=srp.GENERATOR,
            p=srp.PRIME_BYTES,
        )
    return answer


@method(raw.functions.auth.LogOut)
def log_out(request: Request, query: raw.functions.auth.LogOut) -> tl.Answer:
    """auth.logOut: the auth key stays, nobody is signed in with it."""
    request.authorization.user_id = None
    request.dc.state.save_authorization(request.authorization)
    return raw.types.auth.LoggedOut()


@method(raw.functions.auth.ExportAuthorization)
def export_authorization(request: Request, query: raw.functions.auth.ExportAuthorization) -> tl.Answer:
    """auth.exportAuthorization: a ticket for a further auth key."""
    return raw.types.auth.ExportedAuthorization(id=request.user.id, bytes=request.dc.sign_ins.export(request.user))


@method(raw.functions.auth.ImportAuthorization, public=True)
def import_authorization(request: Request, query: raw.functions.auth.ImportAuthorization) -> tl.Answer:
    """auth.importAuthorization: sign in with such a ticket."""
    return authorize(request, request.dc.state.users[request.dc.sign_ins.redeem(query.bytes)])
