"""Join tokens: made, listed and revoked by people, or declared in a file that all Managers have."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import Refusal
from teletrunk.remedies import LIST_JOIN_TOKENS, Shows
from teletrunk.v1 import fleet_pb2 as pb

from teletrunk_manager.db.audit import acting
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import JoinToken, Member
from teletrunk_manager.enrolment import Enrolment, digest, living
from teletrunk_manager.join_file import Declared
from teletrunk_manager.mistakes import Mistake, Unknown

_DAY_S = 86_400.0
_MOST_DAYS = 36_500.0


class JoinTokens:
    def __init__(self, database: Database, enrolment: Enrolment) -> None:
        self._database = database
        self._enrolment = enrolment

    async def add(self, kind: str, count: int, days: float, comment: str) -> pb.AddJoinTokenResponse:
        """Raises `Mistake`. The secret is in this answer and in no other."""
        if count < 1:
            raise Mistake("say how many members may live by it at a time: one or more")
        if not 0 <= days <= _MOST_DAYS:
            raise Mistake(f"it can last up to {_MOST_DAYS:.0f} days; 0: without an end")
        secret, now = secrets.token_urlsafe(32), time.time()
        text = self._enrolment.join_text(kind, secret)
        row = JoinToken(
            join_id=secrets.token_hex(4),
            kind=kind,
            secret_hash=digest(secret),
            places=count,
            comment=comment[:200],
            created_at=now,
            expires_at=now + days * _DAY_S if days else None,
            declared=False,
        )
        async with self._database.transaction() as session:
            session.add(row)
        return pb.AddJoinTokenResponse(token=_message(row, 0), invitation=text)

    async def page(self, request: pb.ListJoinTokensRequest) -> pb.ListJoinTokensResponse:
        """By id."""
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, sa.select(JoinToken), JoinToken.join_id, request)
            tokens = [_message(row, await _members(session, row.join_id)) for row in rows]
        return pb.ListJoinTokensResponse(tokens=tokens, next=following)

    async def revoke(self, join_id: str) -> None:
        """Nobody comes by it any more; who has come by it stays. Raises `Unknown` and `Mistake`."""
        async with self._database.transaction() as session:
            row = await session.get(JoinToken, join_id)
            if row is None:
                raise Unknown(f"there is no join token {join_id}: ", Shows(LIST_JOIN_TOKENS))
            if row.declared:
                raise Mistake(f"{join_id} stands in the Managers' TELETRUNK_JOIN_FILE: take it out there")
            await session.delete(row)

    async def declare(self, declared: Sequence[Declared]) -> None:
        """Makes those that a file has declared be these and no others."""
        with acting("join-file"):
            try:
                await self._declare(declared)
            except Refusal:  # another Manager that starts has declared the same at this moment
                await self._declare(declared)

    async def _declare(self, declared: Sequence[Declared]) -> None:
        wanted = {_id(each): each for each in declared}
        async with self._database.transaction() as session:
            for row in await session.scalars(sa.select(JoinToken).where(JoinToken.declared).with_for_update()):
                if (each := wanted.pop(row.join_id, None)) is None:
                    await session.delete(row)
                else:
                    row.kind, row.places = each.kind, each.count
            for join_id, each in wanted.items():
                row = JoinToken(join_id=join_id, kind=each.kind, places=each.count, created_at=time.time())
                row.secret_hash, row.comment, row.declared = digest(each.secret.get_secret_value()), "", True
                session.add(row)


def _id(declared: Declared) -> str:
    return f"file-{digest(declared.secret.get_secret_value()).hex()[:12]}"


async def _members(session: AsyncSession, join_id: str) -> int:
    return await session.scalar(sa.select(sa.func.count()).select_from(Member).where(*living(join_id))) or 0


def _message(row: JoinToken, members: int) -> pb.JoinToken:
    return pb.JoinToken(
        id=row.join_id,
        kind=row.kind,
        count=row.places,
        members=members,
        comment=row.comment,
        created_at=row.created_at,
        expires_at=row.expires_at or 0.0,
        declared=row.declared,
    )
