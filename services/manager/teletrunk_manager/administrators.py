"""Who may do what: tokens of the REST API, and whose sessions accounts' are."""

from __future__ import annotations

import hashlib
import secrets
import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.rest import Role
from teletrunk.v1 import admin_pb2 as pb

from teletrunk_manager.accounts import find_account, require_owner
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.audit import NOBODY
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import ApiToken, Change, Share
from teletrunk_manager.domain.logins import is_login
from teletrunk_manager.mistakes import Mistake, Unknown

_USUAL_CHANGES = 50
_MOST_CHANGES = 500


class Administrators:
    def __init__(self, database: Database, configurations: Configurations) -> None:
        self._database = database
        self._configurations = configurations

    # Tokens.

    async def add_token(self, name: str, role: str) -> pb.AddTokenResponse:
        """Raises `Mistake`. The secret is in this answer and in no other."""
        if not is_login(name) or name == NOBODY:
            raise Mistake(f"{name!r} is not a name: use up to 64 letters, digits and . _ + -")
        if role not in Role.__members__:
            raise Mistake(f"there is no role {role}: use {', '.join(Role.__members__)}")
        secret = f"tt_{secrets.token_urlsafe(32)}"
        async with self._database.transaction() as session:
            if await session.get(ApiToken, name):
                raise Mistake(f"there is a token {name} already: remove it first, or choose another name")
            row = ApiToken(name=name, role=role, secret_hash=_hash(secret), created_at=time.time())
            session.add(row)
        return pb.AddTokenResponse(token=_token(row), secret=secret)

    async def keep_token(self, name: str, secret: str) -> None:
        """An owner's token that the installation is given from outside: it is there from the first start on, and
        another secret replaces it."""
        async with self._database.transaction() as session:
            row = await session.get(ApiToken, name)
            if row is None:
                session.add(ApiToken(name=name, role="owner", secret_hash=_hash(secret), created_at=time.time()))
            elif row.secret_hash != _hash(secret):
                row.secret_hash = _hash(secret)

    async def tokens(self) -> list[pb.Token]:
        async with self._database.transaction() as session:
            return [_token(row) for row in await session.scalars(sa.select(ApiToken).order_by(ApiToken.name))]

    async def remove_token(self, name: str) -> None:
        """Raises `Unknown`."""
        async with self._database.transaction() as session:
            row = await session.get(ApiToken, name)
            if row is None:
                raise Unknown(f"there is no token {name}: teletrunk token list shows them")
            await session.delete(row)

    async def holder(self, secret: str) -> tuple[str, Role] | None:
        """Name and role that a token stands for. It is looked up by its hash, which takes no telling time."""
        async with self._database.transaction(reading=True) as session:
            row = await session.scalar(sa.select(ApiToken).where(ApiToken.secret_hash == _hash(secret)))
        return (row.name, Role[row.role]) if row is not None else None

    # Sessions.

    async def share(self, account: str, administrator: str, *, on: bool) -> None:
        """Raises `Unknown`."""
        async with self._database.transaction() as session:
            found = await find_account(session, account)
            require_owner(found)
            row = await session.get(Share, (found.account_id, administrator))
            if on and row is None:
                await _require_administrator(session, administrator)
                session.add(Share(account_id=found.account_id, administrator=administrator))
            elif not on and row is None:
                raise Unknown(f"{account} is not shared with {administrator}")
            elif not on and row is not None:
                await session.delete(row)
        self._configurations.changed()

    async def transfer(self, account: str, administrator: str) -> None:
        """Another owner from now on; who had it before needs a share. Raises `Unknown`."""
        async with self._database.transaction() as session:
            found = await find_account(session, account)
            require_owner(found)
            if administrator:
                await _require_administrator(session, administrator)
            found.owner = administrator
        self._configurations.changed()

    async def changes(self, request: pb.ListChangesRequest) -> list[pb.Change]:
        limit = min(request.limit or _USUAL_CHANGES, _MOST_CHANGES)
        query = sa.select(Change).order_by(Change.number.desc()).limit(limit)
        for column, wanted in ((Change.who, request.who), (Change.kind, request.kind), (Change.key, request.key)):
            query = query.where(column == wanted) if wanted else query
        if request.older_than:
            query = query.where(Change.number < request.older_than)
        if request.since:
            query = query.where(Change.at >= request.since)
        if request.until:
            query = query.where(Change.at < request.until)
        async with self._database.transaction() as session:
            rows = (await session.scalars(query)).all()
        fields = ("number", "at", "who", "action", "kind", "key", "before", "after")
        return [pb.Change(**{name: getattr(row, name) for name in fields}) for row in rows]


async def _require_administrator(session: AsyncSession, name: str) -> None:
    if await session.get(ApiToken, name) is None:
        raise Unknown(f"there is no administrator {name}: teletrunk token list shows them")


def _token(row: ApiToken) -> pb.Token:
    return pb.Token(name=row.name, role=row.role, created_at=row.created_at)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
