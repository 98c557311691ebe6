"""What the database has that services are told of. Of accounts and trunks, whole rows are read of what has changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Assignment, BannedAddress, Drain, Member, Share, Trunk, TrustedAddress
from teletrunk_manager.domain import trunk_options
from teletrunk_manager.domain.rights import may_use
from teletrunk_manager.passwords import PasswordSeal, SealBroken, pbx_label, revision

log = structlog.get_logger()

_MOST_BANS = 10_000  # those that are in force longest: a message stays far below gRPC's limit
_AT_ONCE = 500  # rows; the loop has other work


@dataclass(frozen=True)
class StoredTrunk:
    """A trunk of one version, and what Workers need to know of it: made once."""

    row: Trunk
    networks: list[str]  # where it may be used from
    pbx_password: str

    @cached_property
    def usual(self) -> pb.TrunkSettings:
        return pb.TrunkSettings(
            trunk_id=self.row.trunk_id,
            codecs=self.row.codecs.split(","),
            password_revision=revision(self.row.sealed_password),
            networks=self.networks,
            options=trunk_options.read_for_workers(self.row.options),
            login=self.row.login,
            administrator=self.row.administrator,
        )

    @cached_property
    def of_registrant(self) -> pb.TrunkSettings:
        """With what only the Worker needs that registers it at its PBX."""
        settings = pb.TrunkSettings(registers=True, pbx_password=self.pbx_password)
        settings.MergeFrom(self.usual)
        return settings


@dataclass(frozen=True)
class Stored:
    """What there is, as one transaction saw it."""

    accounts: list[Account]
    trunks: list[StoredTrunk]  # those that may be used
    assigned: dict[str, set[str]]  # account id to the Workers that may use it; none: all may
    members: frozenset[str]  # Workers
    revoked: frozenset[str]
    draining: frozenset[str]
    bans: list[pb.Ban]


NOTHING = Stored([], [], {}, frozenset(), frozenset(), frozenset(), [])


class StoredReader:
    """Reads it again and again. One reader at a time."""

    def __init__(self, database: Database, seal: PasswordSeal) -> None:
        self._database = database
        self._seal = seal
        self._accounts: dict[str, Account] = {}
        self._trunks: dict[str, StoredTrunk] = {}

    async def read(self) -> Stored:
        """Raises `Refusal` when the database does not answer."""
        async with self._database.transaction(reading=True) as session:
            self._accounts = await self._read_accounts(session)
            self._trunks = await self._read_trunks(session)
            assigned = _sets(await session.execute(sa.select(Assignment.account_id, Assignment.worker_id)))
            sharers = _sets(await session.execute(sa.select(Share.account_id, Share.administrator)))
            draining = (await session.scalars(sa.select(Drain.worker_id))).all()
            members = (await session.scalars(sa.select(Member).where(Member.kind == "worker"))).all()
            banned = sa.select(BannedAddress).where(BannedAddress.until > time.time())
            banned = banned.order_by(BannedAddress.until.desc(), BannedAddress.network).limit(_MOST_BANS)
            bans = [pb.Ban(network=b.network, until=b.until, times=b.times) for b in await session.scalars(banned)]
        return Stored(
            list(self._accounts.values()),
            list(self._usable(sharers)),
            assigned,
            frozenset(member.service_id for member in members),
            frozenset(member.service_id for member in members if member.revoked or member.retired_at is not None),
            frozenset(draining),
            bans,
        )

    def _usable(self, sharers: dict[str, set[str]]) -> Iterator[StoredTrunk]:
        for trunk in self._trunks.values():
            account = self._accounts.get(trunk.row.account_id)
            shared = sharers.get(trunk.row.account_id, ())
            if account is not None and may_use(trunk.row.administrator, account.owner, shared):
                yield trunk

    async def _read_accounts(self, session: AsyncSession) -> dict[str, Account]:
        now = await _versions(session, sa.select(Account.account_id, Account.version).order_by(Account.account_id))
        known = {id_: row for id_, row in self._accounts.items() if row.version == now.get(id_)}
        for some in _parts(now.keys() - known.keys()):
            found = await session.scalars(sa.select(Account).where(Account.account_id.in_(some)))
            known.update((row.account_id, row) for row in found)
        return {id_: known[id_] for id_ in now if id_ in known}

    async def _read_trunks(self, session: AsyncSession) -> dict[str, StoredTrunk]:
        now = await _versions(session, sa.select(Trunk.trunk_id, Trunk.version).order_by(Trunk.trunk_id))
        known = {id_: trunk for id_, trunk in self._trunks.items() if trunk.row.version == now.get(id_)}
        for some in _parts(now.keys() - known.keys()):
            rows = (await session.scalars(sa.select(Trunk).where(Trunk.trunk_id.in_(some)))).all()
            # After them: what is newer than its trunk's version is read again with the next.
            networks = await _networks(session, some)
            for row in rows:
                known[row.trunk_id] = StoredTrunk(row, networks.get(row.trunk_id, []), self._pbx_password(row))
        return {id_: known[id_] for id_ in now if id_ in known}

    def _pbx_password(self, trunk: Trunk) -> str:
        if not trunk.sealed_pbx_password:
            return ""
        try:
            return self._seal.open(trunk.sealed_pbx_password, pbx_label(trunk.trunk_id))
        except SealBroken:
            log.error("DATA/secrets/manager.key does not open this trunk: put the right file back", login=trunk.login)
            return ""


async def _versions(session: AsyncSession, query: sa.Select[str, int]) -> dict[str, int]:
    """By id, in the order of the query."""
    return {row[0]: row[1] for row in await session.execute(query)}


async def _networks(session: AsyncSession, trunk_ids: list[str]) -> dict[str, list[str]]:
    # As one text a trunk: there may be a hundred of each.
    listed = sa.func.aggregate_strings(TrustedAddress.network, "\n")
    query = sa.select(TrustedAddress.trunk_id, listed).where(TrustedAddress.trunk_id.in_(trunk_ids))
    found = await session.execute(query.group_by(TrustedAddress.trunk_id))
    return {trunk_id: sorted(lines.split("\n")) for trunk_id, lines in found}


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _sets(rows: Iterable[sa.Row[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row[0], set()).add(row[1])
    return found
