"""Invitations that nobody has used yet, as people see them: never their secrets."""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import LIST_INVITATIONS, Shows
from teletrunk.v1 import fleet_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import page_of
from teletrunk_manager.db.tables import Invitation
from teletrunk_manager.mistakes import Unknown

_ID_DIGITS = 12  # of the secret's hash


class Invitations:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, request: pb.ListInvitationsRequest) -> pb.ListInvitationsResponse:
        async with self._database.transaction(reading=True) as session:
            waiting = sorted(await _waiting(session), key=_id, reverse=True)
        rows, following = page_of(waiting, _id, request)
        invitations = [
            pb.Invitation(id=_id(row), kind=row.kind, comment=row.comment, expires_at=row.expires_at) for row in rows
        ]
        return pb.ListInvitationsResponse(invitations=invitations, next=following)

    async def revoke(self, invitation_id: str) -> None:
        """Raises `Unknown`."""
        async with self._database.transaction() as session:
            found = next((row for row in await _waiting(session) if _id(row) == invitation_id), None)
            if found is None:
                raise Unknown(f"there is no invitation {invitation_id}: ", Shows(LIST_INVITATIONS))
            await session.delete(found)


async def _waiting(session: AsyncSession) -> list[Invitation]:
    """There are few: they last an hour."""
    return list(await session.scalars(sa.select(Invitation).where(Invitation.expires_at > time.time())))


def _id(row: Invitation) -> str:
    return row.secret_hash.hex()[:_ID_DIGITS]
