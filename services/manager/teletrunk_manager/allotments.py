"""How many trunks and trusted networks there may be of one administrator: every Worker keeps all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from teletrunk_manager.db.tables import Trunk, TrustedAddress
from teletrunk_manager.mistakes import Mistake

_OWNERS_TIMES: Final = 20  # the installation's own may be as many as of so many administrators


@dataclass(frozen=True)
class Allotment:
    trunks: int
    networks: int

    async def require_trunk(self, session: AsyncSession, administrator: str) -> None:
        """Room for one more. Raises `Mistake`."""
        most = _most(self.trunks, administrator)
        counted = sa.select(sa.func.count()).select_from(Trunk).where(Trunk.administrator == administrator)
        if (await session.scalar(counted) or 0) >= most:
            raise Mistake(f"too many trunks: remove some of your {most}, or set TELETRUNK_ADMINISTRATOR_TRUNKS")

    async def require_networks(self, session: AsyncSession, trunk: Trunk, count: int) -> None:
        """Room for so many of a trunk's, beside those of the others. Raises `Mistake`."""
        most = _most(self.networks, trunk.administrator)
        others = (
            sa.select(sa.func.count())
            .select_from(TrustedAddress)
            .join(Trunk, Trunk.trunk_id == TrustedAddress.trunk_id)
            .where(Trunk.administrator == trunk.administrator, Trunk.trunk_id != trunk.trunk_id)
        )
        if count and count + (await session.scalar(others) or 0) > most:
            raise Mistake(
                f"too many trusted addresses: your trunks may have {most} together; use larger subnets, or set "
                "TELETRUNK_ADMINISTRATOR_NETWORKS"
            )


def _most(of_one: int, administrator: str) -> int:
    return of_one if administrator else of_one * _OWNERS_TIMES
