"""Whose accounts are, who may use them too, and what people have changed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import LIST_TOKENS, Shows
from teletrunk.v1 import admin_pb2 as pb

from teletrunk_manager.accounts import find_account, require_owner
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import ApiToken, Change, Share
from teletrunk_manager.mistakes import Unknown

_USUAL_CHANGES = 50


class Administrators:
    def __init__(self, database: Database, configurations: Configurations) -> None:
        self._database = database
        self._configurations = configurations

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

    async def changes(self, request: pb.ListChangesRequest) -> pb.ListChangesResponse:
        query = sa.select(Change)
        for column, wanted in ((Change.who, request.who), (Change.kind, request.kind)):
            query = query.where(column == wanted) if wanted else query
        if request.key:
            query = query.where(sa.or_(Change.key == request.key, Change.name == request.key))
        if request.since:
            query = query.where(Change.at >= request.since)
        if request.until:
            query = query.where(Change.at < request.until)
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(
                session,
                query,
                Change.number,
                request,
                after=str(request.older_than or ""),
                newest_first=True,
                usual=_USUAL_CHANGES,
            )
        fields = ("number", "at", "who", "action", "kind", "key", "name", "before", "after")
        changes = [pb.Change(**{name: getattr(row, name) for name in fields}) for row in rows]
        return pb.ListChangesResponse(changes=changes, next=following)


async def _require_administrator(session: AsyncSession, name: str) -> None:
    if await session.get(ApiToken, name) is None:
        raise Unknown(f"there is no administrator {name}: ", Shows(LIST_TOKENS))
