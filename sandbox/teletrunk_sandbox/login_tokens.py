"""Signing in by QR code: https://core.telegram.org/api/qr-login."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pyrogram import raw

from teletrunk_sandbox import tl
from teletrunk_sandbox.auth import authorize
from teletrunk_sandbox.authorizations import seen
from teletrunk_sandbox.config import DC_ID
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request, unauthorized
from teletrunk_sandbox.state import User

TOKEN_SECONDS = 30


@dataclass(slots=True)
class LoginToken:
    """What a QR code holds."""

    token: bytes
    key_id: bytes  # of the auth key that shows it
    expires: int
    not_for: Collection[int]
    accepted_by: int | None = None


class LoginTokens:
    """One an auth key, the last that it was given; none of it outlives a restart."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds = TOKEN_SECONDS
        self._tokens: dict[bytes, LoginToken] = {}

    def export(self, key_id: bytes, not_for: Collection[int]) -> LoginToken:
        """A new token, unless the last one was accepted."""
        last = self._tokens.get(key_id)
        if last is None or last.accepted_by is None:
            expires = int(self._now()) + self.seconds
            self._tokens[key_id] = LoginToken(secrets.token_bytes(32), key_id, expires, not_for)
        return self._tokens[key_id]

    def accept(self, token: bytes, user: User) -> LoginToken:
        """A user who is signed in has scanned it."""
        found = self._find(token)
        if found.accepted_by is not None:
            raise bad_request("AUTH_TOKEN_ALREADY_ACCEPTED")
        if found.expires <= self._now():
            raise bad_request("AUTH_TOKEN_EXPIRED")
        if user.id in found.not_for:
            raise bad_request("AUTH_TOKEN_EXCEPTION")
        found.accepted_by = user.id
        return found

    def import_(self, token: bytes, key_id: bytes) -> int:
        """The user who has accepted it; asked by another auth key than the one that shows it, and once."""
        found = self._find(token)
        if found.accepted_by is None or found.key_id == key_id:
            raise bad_request("AUTH_TOKEN_INVALID")
        self.spend(found)
        return found.accepted_by

    def accepted_by(self, key_id: bytes) -> int | None:
        """The user whom an auth key is about to sign in."""
        token = self._tokens.get(key_id)
        return token.accepted_by if token else None

    def spend(self, token: LoginToken) -> None:
        """It has signed its user in."""
        self._tokens.pop(token.key_id, None)

    def _find(self, token: bytes) -> LoginToken:
        for found in self._tokens.values():
            if secrets.compare_digest(found.token, token):
                return found
        raise bad_request("AUTH_TOKEN_INVALID")


@method(raw.functions.auth.ExportLoginToken, public=True)
def export_login_token(request: Request, query: raw.functions.auth.ExportLoginToken) -> tl.Answer:
    """auth.exportLoginToken: what to show, and once it is accepted, whose it is or which data centre knows."""
    if query.api_id != request.authorization.device.get("api_id"):
        raise bad_request("API_ID_INVALID")
    tokens = request.dc.login_tokens
    token = tokens.export(request.authorization.key_id, query.except_ids)
    if token.accepted_by is None:
        return raw.types.auth.LoginToken(expires=token.expires, token=token.token)
    user = request.dc.state.users[token.accepted_by]
    if user.home_dc != DC_ID:
        return raw.types.auth.LoginTokenMigrateTo(dc_id=user.home_dc, token=token.token)
    tokens.spend(token)
    return _signed_in(request, user)


@method(raw.functions.auth.ImportLoginToken, public=True)
def import_login_token(request: Request, query: raw.functions.auth.ImportLoginToken) -> tl.Answer:
    """auth.importLoginToken: the same at the user's own data centre, where another auth key asks."""
    user_id = request.dc.login_tokens.import_(query.token, request.authorization.key_id)
    return _signed_in(request, request.dc.state.users[user_id])


@method(raw.functions.auth.AcceptLoginToken)
def accept_login_token(request: Request, query: raw.functions.auth.AcceptLoginToken) -> tl.Answer:
    """auth.acceptLoginToken: the other device is told to ask again, whatever it then still has to prove."""
    token = request.dc.login_tokens.accept(query.token, request.user)
    device = request.dc.state.authorizations[token.key_id]
    told = raw.types.UpdateShort(update=raw.types.UpdateLoginToken(), date=int(request.dc.clock.now())).write()
    for session in request.dc.sessions.of([device]):
        session.push(told)
    return seen(request, device)


def _signed_in(request: Request, user: User) -> raw.types.auth.LoginTokenSuccess:
    if user.password:
        request.dc.sign_ins.await_password(request.authorization.key_id, user)
        raise unauthorized("SESSION_PASSWORD_NEEDED")
    return raw.types.auth.LoginTokenSuccess(authorization=authorize(request, user))
