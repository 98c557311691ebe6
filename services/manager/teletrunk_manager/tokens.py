"""Tokens of the REST API: who has one, what it is good for, how long, and when it was used last."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import secrets
import time
from dataclasses import dataclass

import grpc
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.remedies import ADD_TOKEN, LIST_TOKENS, Shows, Term
from teletrunk.rest import Role
from teletrunk.v1 import admin_pb2 as pb

from teletrunk_manager.db.audit import NOBODY
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Account, ApiToken, Share, Trunk
from teletrunk_manager.domain.logins import is_login
from teletrunk_manager.mistakes import Mistake, Taken, Unknown

_USE_NOTED_S = 60.0  # a use is written down at most so often
_LONGEST_LIFE_S = 10 * 366 * 86_400.0
_OWN, _ALL = "own", "all"


@dataclass(frozen=True)
class Holder:
    name: str
    role: Role
    sees_all: bool


class Tokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, request: pb.AddTokenRequest) -> pb.AddTokenResponse:
        """Raises `Mistake`. The secret is in this answer and in no other."""
        if not is_login(request.name) or request.name == NOBODY:
            raise Mistake(f"{request.name!r} is not a name: use up to 64 letters, digits and . _ + -")
        if request.expires_at and request.expires_at <= time.time():
            raise Mistake("the token would have ended before its first use: give a time to come")
        if not request.expires_at <= time.time() + _LONGEST_LIFE_S:  # a NaN neither
            raise Mistake("the token would live too long: give a time within ten years, or none")
        secret = f"tt_{secrets.token_urlsafe(32)}"
        row = ApiToken(
            name=request.name,
            role=request.role,
            sees_all=_sees_all(request.role, request.scope),
            secret_hash=_hash(secret),
            created_at=time.time(),
            expires_at=request.expires_at,
            last_used_at=0.0,
        )
        async with self._database.transaction() as session:
            if await session.get(ApiToken, request.name):
                raise Taken(f"there is a token {request.name} already: remove it first, or choose another name")
            if not request.inherit and any((await _left(session, request.name)).values()):
                left = f"{request.name} has accounts, trunks or shares from before: "
                raise Mistake(left, Term("--inherit", "inherit"), " gives them to this token")
            session.add(row)
        return pb.AddTokenResponse(token=_message(row), secret=secret)

    async def keep(self, name: str, secret: str) -> None:
        """An owner's token that the installation is given from outside: it is there from the first start on, and
        another secret replaces it."""
        async with self._database.transaction() as session:
            row = await session.get(ApiToken, name)
            if row is None:
                known = {"name": name, "role": Role.owner.name, "sees_all": True}
                session.add(ApiToken(**known, secret_hash=_hash(secret), created_at=time.time()))
            elif row.secret_hash != _hash(secret):
                row.secret_hash = _hash(secret)

    async def page(self, request: pb.ListTokensRequest) -> pb.ListTokensResponse:
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, sa.select(ApiToken), ApiToken.name, request)
        return pb.ListTokensResponse(tokens=map(_message, rows), next=following)

    async def one(self, name: str) -> pb.Token:
        """Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            return _message(await _find(session, name))

    async def remove(self, name: str) -> pb.RemoveTokenResponse:
        """Ends a token; what its name has goes on. Raises `Unknown`."""
        async with self._database.transaction() as session:
            await session.delete(await _find(session, name))
            left = await _left(session, name)
        return pb.RemoveTokenResponse(accounts=left["accounts"], trunks=left["trunks"])

    async def holder(self, secret: str) -> Holder | None:
        """Whom a token stands for. It is looked up by its hash, which takes no telling time. Raises `Mistake`."""
        async with self._database.transaction(reading=True) as session:
            row = await session.scalar(sa.select(ApiToken).where(ApiToken.secret_hash == _hash(secret)))
        if row is None:
            return None
        if row.expires_at and row.expires_at <= time.time():
            ended = datetime.datetime.fromtimestamp(row.expires_at, datetime.UTC)
            text = f"the token {row.name} ended at {ended:%Y-%m-%d %H:%M} UTC: make another ("
            raise Mistake(text, ADD_TOKEN, ")", code=grpc.StatusCode.UNAUTHENTICATED)
        await self._note_use(row)
        return Holder(row.name, Role[row.role], _looks_at_all(row))

    async def _note_use(self, row: ApiToken) -> None:
        now = time.time()
        if now - row.last_used_at < _USE_NOTED_S:
            return
        noted = sa.update(ApiToken).where(ApiToken.name == row.name, ApiToken.last_used_at <= now - _USE_NOTED_S)
        with contextlib.suppress(Refusal):  # nobody is refused because that cannot be written down
            async with self._database.transaction() as session:
                await session.execute(noted.values(last_used_at=now))


def _sees_all(role: str, scope: str) -> bool:
    """Raises `Mistake`."""
    if role not in Role.__members__:
        raise Mistake(f"there is no role {role}: use {', '.join(Role.__members__)}")
    if scope not in ("", _OWN, _ALL):
        raise Mistake(f"there is no scope {scope}: use {_OWN} or {_ALL}")
    if role == Role.administrator.name and scope == _ALL:
        raise Mistake(f"an administrator's scope is {_OWN}: make an owner, or a viewer with the scope {_ALL}")
    if role == Role.owner.name and scope == _OWN:
        raise Mistake(f"an owner's scope is {_ALL}: make an administrator")
    return role == Role.owner.name or scope == _ALL


def _looks_at_all(row: ApiToken) -> bool:
    """An older Manager, which knows no scopes, may have made an owner's token beside us."""
    return row.sees_all or row.role == Role.owner.name


async def _left(session: AsyncSession, name: str) -> dict[str, int]:
    """How much is an administrator's of this name."""
    of_name = {
        "accounts": sa.select(sa.func.count()).select_from(Account).where(Account.owner == name),
        "trunks": sa.select(sa.func.count()).select_from(Trunk).where(Trunk.administrator == name),
        "shares": sa.select(sa.func.count()).select_from(Share).where(Share.administrator == name),
    }
    return {kind: await session.scalar(counted) or 0 for kind, counted in of_name.items()}


async def _find(session: AsyncSession, name: str) -> ApiToken:
    row = await session.get(ApiToken, name)
    if row is None:
        raise Unknown(f"there is no token {name}: ", Shows(LIST_TOKENS))
    return row


def _message(row: ApiToken) -> pb.Token:
    return pb.Token(
        name=row.name,
        role=row.role,
        scope=_ALL if _looks_at_all(row) else _OWN,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
