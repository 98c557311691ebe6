"""That no two administrators' trunks are known by the same. It is looked up before the transaction that writes, in
which nobody else can write, and confirmed in it by what has changed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import Term

from teletrunk_manager.db.audit import asker
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Trunk, TrustedAddress
from teletrunk_manager.domain import trunk_options
from teletrunk_manager.domain.claims import Claims
from teletrunk_manager.mistakes import Mistake, NotNow


@dataclass(frozen=True)
class Undisputed:
    """What no other administrator's trunk was known by a moment ago."""

    mine: Claims | None
    administrator: str
    versions: Mapping[str, int] = field(default_factory=dict)  # of the others' trunks that were looked at

    @classmethod
    async def looked_up(cls, database: Database, mine: Claims | None, administrator: str) -> Undisputed:
        """Raises `Mistake` for what would take the calls of another administrator's PBX."""
        if mine is None:
            return cls(mine, administrator)
        if administrator and (network := mine.too_large()):
            raise Mistake(
                f"{network} is too large for a trunk that asks for no password: use /24, /48 for IPv6, or smaller"
            )
        async with database.transaction(reading=True) as session:
            others = (await session.execute(_WHOLE.where(*_of_others(administrator)))).all()
        # There may be thousands: in a thread, so that no call waits for it.
        _require_none(await asyncio.to_thread(_claimed_by, mine, others))
        return cls(mine, administrator, {other.trunk_id: other.version for other in others})

    async def confirm(self, session: AsyncSession, mine: Claims | None) -> None:
        """Raises `Mistake`, and `NotNow` when the trunk itself is another now."""
        if mine != self.mine:
            raise NotNow("the trunk has been changed meanwhile: look at it again")
        if mine is None:
            return
        versions = sa.select(Trunk.trunk_id, Trunk.version).where(*_of_others(self.administrator))
        with session.no_autoflush:
            now = (await session.execute(versions)).all()
            if new := [trunk_id for trunk_id, version in now if self.versions.get(trunk_id) != version]:
                _require_none(_claimed_by(mine, await session.execute(_WHOLE.where(Trunk.trunk_id.in_(new)))))


_NETWORKS = (
    sa.select(sa.func.aggregate_strings(TrustedAddress.network, "\n"))
    .where(TrustedAddress.trunk_id == Trunk.trunk_id)
    .scalar_subquery()
    .label("networks")
)
_WHOLE = sa.select(Trunk.trunk_id, Trunk.version, Trunk.login, Trunk.options, _NETWORKS)


def _of_others(administrator: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Trunks of others that are known by anything but a password."""
    return Trunk.administrator != administrator, Trunk.options.contains('"TRUNK_KIND_', autoescape=True)


def _require_none(claimed: tuple[str, str] | None) -> None:
    """Raises `Mistake`."""
    if claimed is not None:
        shared, login = claimed
        named = "" if asker() else f" (trunk {login})"
        raise Mistake(
            f"{shared} is a PBX of another administrator's{named}: let it register, or let both send one header "
            "with different values (",
            Term("--pbx-header", "options.pbx.header"),
            ")",
        )


def _claimed_by(mine: Claims, others: Iterable[Any]) -> tuple[str, str] | None:
    """The first claim that another trunk has too, and that trunk's login."""
    for other in others:
        networks = other.networks.split("\n") if other.networks else ()
        theirs = Claims.of(trunk_options.read(other.options), networks)
        if theirs is not None and (shared := mine.shared_with(theirs)):
            return shared, other.login
    return None
