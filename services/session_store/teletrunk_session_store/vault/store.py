"""The vault: sessions sealed at rest, leases, cached peers, and the calls to clean up after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from teletrunk.backup.witness import Witness
from teletrunk.config import ConfigurationError
from teletrunk.database import READING, Turns, database_time, dispose, make_engine

from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.seal import Seal, Sealed, WrongKey
from teletrunk_session_store.vault.tables import (
    ALIASES,
    CALLS,
    CHECK,
    FLOODS,
    LEASES,
    META,
    PEERS,
    PROOF,
    REQUESTS,
    SCHEMA,
    SESSIONS,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

log = structlog.get_logger()

_TRIED = 20
_RENEWED_AT_ONCE = 5_000
DEADLINE_S: Final = 3.0
FAILURES: Final = (SQLAlchemyError, OSError, TimeoutError)


@contextlib.asynccontextmanager
async def best_effort() -> AsyncIterator[None]:
    """What the vault cannot do, or not in time, is done without."""
    with contextlib.suppress(*FAILURES):
        async with asyncio.timeout(DEADLINE_S):
            yield


@dataclass(frozen=True)
class KnownPeer:
    """A Telegram user as one session sees them: the access hash is worth nothing to another session."""

    user_id: int
    access_hash: int
    first_name: str = ""
    last_name: str = ""
    username: str = ""
    phone: str = ""
    more_usernames: tuple[str, ...] = ()  # beside the one that is shown

    @property
    def row(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name in PEERS.c}

    @property
    def names(self) -> list[tuple[str, str, int]]:
        """What leads to the user, as rows of aliases."""
        usernames = [("username", name, self.user_id) for name in (self.username, *self.more_usernames) if name]
        return [*usernames, ("phone", self.phone, self.user_id)] if self.phone else usernames


@dataclass(frozen=True)
class LeftRequest:
    """A phone.requestCall whose answer nobody has noted."""

    random_id: int
    callee_id: int
    asked_at: float


class Vault:
    """All that a Storage keeps. One instance a process."""

    def __init__(self, url: str, seal: Seal) -> None:
        self._url = url
        self._engine = make_engine(url)
        self._reader = self._engine.execution_options(**{READING: True})
        self._turns = Turns(self._engine)
        self._seal = seal
        self.held_back = ""  # why no session may be run yet: see `adoption`

    async def open(self) -> None:
        """Brings the tables up to this version, and refuses a key that is not this vault's (`ConfigurationError`)."""
        await self._upgrade()
        async with self._writing() as connection:
            row = (await connection.execute(sa.select(META).where(META.c.name == CHECK))).first()
            if row is None:
                sealed = self._seal.close(CHECK.encode(), CHECK)
                await connection.execute(
                    META.insert().values(name=CHECK, wrapped_key=sealed.wrapped_key, value=sealed.value)
                )
                return
        if not self._opens(row, CHECK) and not await self._opens_a_session():
            raise ConfigurationError(
                "the vault was made with another key: give that one in TELETRUNK_VAULT_KEY or DATA/secrets/vault.key"
            )

    async def _upgrade(self) -> None:
        engine = make_engine(self._url, migrating=True)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(SCHEMA.upgrade)
                self.held_back = await adoption.settle(connection)
        finally:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._turns.mine(), self._engine.begin() as connection:
            yield connection

    def _opens(self, row: Any, owner: str) -> bool:
        try:
            self._seal.open(Sealed(row.wrapped_key, row.value), owner)
        except WrongKey:
            log.error("a row of the vault does not open", row=owner)
            return False
        return True

    async def _opens_a_session(self) -> bool:
        """Then the key is right, and it is the vault's check that is damaged."""
        async with self._reader.connect() as connection:
            rows = (await connection.execute(sa.select(SESSIONS).limit(_TRIED))).all()
        return any(self._opens(row, row.session_id) for row in rows)

    async def proof(self) -> bytes:
        """What only who has the vault and its key can show; empty while it does not open."""
        async with self._writing() as connection:
            sealed = self._seal.close(secrets.token_bytes(32), PROOF)
            fresh = {"name": PROOF, "wrapped_key": sealed.wrapped_key, "value": sealed.value}
            await connection.execute(self._insert(META, fresh).on_conflict_do_nothing())
            row = (await connection.execute(sa.select(META).where(META.c.name == PROOF))).one()
        return self._seal.open(Sealed(row.wrapped_key, row.value), PROOF) if self._opens(row, PROOF) else b""

    async def rotate(self) -> int:
        """Puts everything under our own key that another one still holds; returns how many rows. Others may use it."""
        moved = 0
        for table, name in ((SESSIONS, SESSIONS.c.session_id), (META, META.c.name)):
            async with self._reader.connect() as connection:
                rows = (await connection.execute(sa.select(name, table.c.wrapped_key))).all()
            for owner, wrapped in rows:
                try:
                    fresh = self._seal.rewrapped(wrapped, owner)
                except WrongKey:  # a damaged row keeps nobody else from working
                    log.error("a row of the vault does not open", row=owner)
                    continue
                if fresh is None:
                    continue
                same = sa.and_(name == owner, table.c.wrapped_key == wrapped)  # unless somebody was faster
                async with self._writing() as connection:
                    await connection.execute(table.update().where(same).values(wrapped_key=fresh))
                moved += 1
        return moved

    async def introduce(self, storage: Witness) -> str:
        """Notes that this Storage uses the vault; returns the vault's id."""
        async with self._writing() as connection:
            await adoption.note_storage(connection, storage)
            return await adoption.vault_id(connection)

    async def lease_owner(self, session_id: str) -> str:
        """Who holds the session's lease now; empty when nobody does."""
        async with self._reader.connect() as connection:
            now = await database_time(connection)
            found = sa.select(LEASES.c.owner).where(LEASES.c.session_id == session_id, LEASES.c.expires_at > now)
            return await connection.scalar(found) or ""

    async def look_for_adoption(self) -> None:
        """Whether it has been adopted meanwhile."""
        async with self._reader.connect() as connection:
            self.held_back = await adoption.held_back(connection)

    async def close(self) -> None:
        await dispose(self._engine)

    # Sessions.

    async def put_session(self, session_id: str, user_id: int, session: str) -> None:
        """Stores a user's session and forgets the user's others, both or neither. It can be repeated."""
        sealed = self._seal.close(session.encode(), session_id)
        row = {"session_id": session_id, "user_id": user_id, "wrapped_key": sealed.wrapped_key, "value": sealed.value}
        others = sa.select(SESSIONS.c.session_id).where(
            SESSIONS.c.user_id == user_id, SESSIONS.c.session_id != session_id
        )
        async with self._writing() as connection:
            await connection.execute(self._put(SESSIONS, row))
            for old in (await connection.scalars(others)).all():
                await self._remove_session(connection, old)

    async def session_ids(self) -> dict[str, int]:
        """Session ids with the user id of each."""
        async with self._reader.connect() as connection:
            rows = await connection.execute(sa.select(SESSIONS.c.session_id, SESSIONS.c.user_id))
            return {row.session_id: row.user_id for row in rows}

    async def get_session(self, session_id: str) -> str:
        """The opened session. Keep it no longer than it takes to hand it to a client."""
        async with self._reader.connect() as connection:
            row = (await connection.execute(sa.select(SESSIONS).where(SESSIONS.c.session_id == session_id))).one()
        return self._seal.open(Sealed(row.wrapped_key, row.value), session_id).decode()

    async def remove_session(self, session_id: str) -> None:
        async with self._writing() as connection:
            await self._remove_session(connection, session_id)

    async def _remove_session(self, connection: AsyncConnection, session_id: str) -> None:
        for table in (SESSIONS, LEASES, PEERS, ALIASES, CALLS, REQUESTS, FLOODS):
            await connection.execute(table.delete().where(table.c.session_id == session_id))

    # Leases.

    async def take_lease(self, session_id: str, owner: str, seconds: float) -> int | None:
        """The fencing number of a lease taken or renewed; None while another owner's has not expired, and in a copy."""
        if self.held_back:
            return None
        try:
            return await self._take_lease(session_id, owner, seconds)
        except IntegrityError:
            return None  # two came for a lease that there had never been; the other was first

    async def _take_lease(self, session_id: str, owner: str, seconds: float) -> int | None:
        async with self._writing() as connection:
            now = await database_time(connection)
            row = (
                await connection.execute(sa.select(LEASES).where(LEASES.c.session_id == session_id).with_for_update())
            ).first()
            if row is None:
                await connection.execute(
                    LEASES.insert().values(session_id=session_id, owner=owner, fence=1, expires_at=now + seconds)
                )
                return 1
            if row.owner != owner and row.expires_at > now:
                return None
            fence = int(row.fence) if row.owner == owner else int(row.fence) + 1
            await connection.execute(
                LEASES.update()
                .where(LEASES.c.session_id == session_id)
                .values(owner=owner, fence=fence, expires_at=now + seconds)
            )
            return fence

    async def renew_leases(self, session_ids: Sequence[str], owner: str, seconds: float) -> dict[str, int]:
        """In one transaction. The fencing numbers of those that are still this owner's."""
        if self.held_back:
            return {}
        fences: dict[str, int] = {}
        async with self._writing() as connection:
            now = await database_time(connection)
            for start in range(0, len(session_ids), _RENEWED_AT_ONCE):
                part = session_ids[start : start + _RENEWED_AT_ONCE]
                renewed = await connection.execute(
                    LEASES.update()
                    .where(LEASES.c.owner == owner, LEASES.c.session_id.in_(part))
                    .values(expires_at=now + seconds)
                    .returning(LEASES.c.session_id, LEASES.c.fence)
                )
                fences |= {row.session_id: int(row.fence) for row in renewed}
        return fences

    async def release_lease(self, session_id: str, owner: str) -> None:
        async with self._writing() as connection:
            await connection.execute(
                LEASES.update().where(LEASES.c.session_id == session_id, LEASES.c.owner == owner).values(expires_at=0.0)
            )

    # Peers.

    async def put_peers(
        self, session_id: str, peers: list[KnownPeer], found: Sequence[tuple[str, str, int]] = ()
    ) -> None:
        """What Telegram has just said of these users, and of the names that they have now.

        `found` are phones and usernames, each with its kind and user, by which they were found: an answer need not say
        that again.
        """
        seen_at = time.time()  # one for all: names that were told together are known by it
        names = {*found, *(name for peer in peers for name in peer.names)}
        async with self._writing() as connection:
            # In one order: two calls that bring the same users must not wait for each other.
            for peer in sorted(peers, key=lambda peer: peer.user_id):
                await connection.execute(self._put(PEERS, {"session_id": session_id, **peer.row}, kept=("phone",)))
            for kind, value, user_id in sorted(names):
                alias = {"kind": kind, "value": value, "user_id": user_id, "seen_at": seen_at}
                await connection.execute(self._put(ALIASES, {"session_id": session_id, **alias}))

    def _put(self, table: sa.Table, values: dict[str, Any], kept: Sequence[str] = ()) -> sa.Insert:
        """Inserts a row, or replaces the one with its key, as one statement: others do the same at the same time.

        Of the columns in `kept` an empty text replaces nothing.
        """
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in values.items() if name not in keys}
        rest |= {name: table.c[name] for name in kept if not values[name]}
        return self._insert(table, values).on_conflict_do_update(index_elements=keys, set_=rest)

    def _insert(self, table: sa.Table, values: dict[str, Any]) -> postgresql.Insert | sqlite.Insert:
        """One that can say what becomes of a row that there is already."""
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # loaded already, as the engine's own; 1.5 MB that SQLite saves

            return postgresql.insert(table).values(**values)
        return sqlite.insert(table).values(**values)

    async def find_peer(self, session_id: str, user_id: int) -> KnownPeer | None:
        return await self._find_peer(PEERS.c.session_id == session_id, PEERS.c.user_id == user_id)

    async def with_usernames(self, session_id: str, peer: KnownPeer) -> KnownPeer:
        """The peer by all usernames that it had when Telegram last told of them."""
        theirs = sa.select(ALIASES.c.value, ALIASES.c.seen_at).where(
            ALIASES.c.session_id == session_id, ALIASES.c.user_id == peer.user_id, ALIASES.c.kind == "username"
        )
        async with self._reader.connect() as connection:
            seen = {row.value: row.seen_at for row in await connection.execute(theirs)}
        told_at = seen.pop(peer.username, math.inf)
        return replace(peer, more_usernames=tuple(sorted(name for name, at in seen.items() if at >= told_at)))

    async def find_alias(self, session_id: str, kind: str, value: str, since: float) -> KnownPeer | None:
        """Who had this phone or username (in lower case) when Telegram last said so, if not before `since`."""
        alias = sa.select(ALIASES.c.user_id).where(
            ALIASES.c.session_id == session_id,
            ALIASES.c.kind == kind,
            ALIASES.c.value == value,
            ALIASES.c.seen_at >= since,
        )
        return await self._find_peer(PEERS.c.session_id == session_id, PEERS.c.user_id == alias.scalar_subquery())

    async def _find_peer(self, *where: sa.ColumnElement[bool]) -> KnownPeer | None:
        async with self._reader.connect() as connection:
            row = (await connection.execute(sa.select(PEERS).where(*where))).first()
        if row is None:
            return None
        return KnownPeer(row.user_id, row.access_hash, row.first_name, row.last_name, row.username, row.phone)

    # Flood waits.

    async def note_flood(self, session_id: str, method: str, until: float) -> None:
        async with self._writing() as connection:
            row = {"session_id": session_id, "method": method, "until": until}
            await connection.execute(self._put(FLOODS, row))

    async def forget_floods(self, session_id: str) -> None:
        async with self._writing() as connection:
            await connection.execute(sa.delete(FLOODS).where(FLOODS.c.session_id == session_id))

    async def flood_waits(self, session_id: str) -> dict[str, float]:
        """Until when (Unix time) Telegram does not want to be asked, by method."""
        async with self._reader.connect() as connection:
            rows = await connection.execute(sa.select(FLOODS).where(FLOODS.c.session_id == session_id))
            return {row.method: row.until for row in rows}

    # Calls that a crash would leave behind.

    async def note_request(self, session_id: str, request: LeftRequest) -> None:
        """Telegram is about to be asked for a call."""
        async with self._writing() as connection:
            await connection.execute(self._put(REQUESTS, {"session_id": session_id, **vars(request)}))

    async def forget_request(self, session_id: str, random_id: int) -> None:
        async with self._writing() as connection:
            await self._forget_request(connection, session_id, random_id)

    async def _forget_request(self, connection: AsyncConnection, session_id: str, random_id: int) -> None:
        where = sa.and_(REQUESTS.c.session_id == session_id, REQUESTS.c.random_id == random_id)
        await connection.execute(REQUESTS.delete().where(where))

    async def left_requests(self, session_id: str) -> list[LeftRequest]:
        async with self._reader.connect() as connection:
            rows = await connection.execute(sa.select(REQUESTS).where(REQUESTS.c.session_id == session_id))
            return [LeftRequest(row.random_id, row.callee_id, row.asked_at) for row in rows]

    async def note_call(
        self, session_id: str, phone_call_id: int, access_hash: int, random_id: int | None = None
    ) -> None:
        """A call that is open at Telegram; in place of the request that made it, if there was one."""
        row = {"session_id": session_id, "phone_call_id": phone_call_id, "access_hash": access_hash}
        async with self._writing() as connection:
            await connection.execute(self._put(CALLS, row))
            if random_id is not None:
                await self._forget_request(connection, session_id, random_id)

    async def forget_call(self, session_id: str, phone_call_id: int) -> None:
        async with self._writing() as connection:
            await connection.execute(
                CALLS.delete().where(CALLS.c.session_id == session_id, CALLS.c.phone_call_id == phone_call_id)
            )

    async def left_calls(self, session_id: str) -> list[tuple[int, int]]:
        async with self._reader.connect() as connection:
            rows = await connection.execute(sa.select(CALLS).where(CALLS.c.session_id == session_id))
            return [(row.phone_call_id, row.access_hash) for row in rows]
