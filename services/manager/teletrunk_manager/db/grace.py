"""What services of the version before cannot say is not missed for a while after an upgrade."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from teletrunk_manager.db.tables import Upgrade

PROOFS: Final = "route-proofs"  # and the vault's: both came with one version
GRACE_S: Final = 7 * 86_400.0


async def in_grace(session: AsyncSession) -> bool:
    """Never in an installation that is new."""
    at = await session.scalar(sa.select(Upgrade.at).where(Upgrade.what == PROOFS))
    return at is not None and time.time() < at + GRACE_S
