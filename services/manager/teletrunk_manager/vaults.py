"""Which vault a Storage has: who comes with its certificate and another vault, or none, is not let in.

A certificate lies in a file; so does the vault's key, but it can be kept apart, and the vault can be elsewhere. So a
thief of the one is not sent sign-ins, sessions or calls.
"""

from __future__ import annotations

import hashlib
import hmac

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import APPROVE_STORAGE, LIST_STORAGES, Shows

from teletrunk_manager.db.audit import acting
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.grace import in_grace
from teletrunk_manager.db.tables import Member
from teletrunk_manager.mistakes import NotNow, Unknown

log = structlog.get_logger()


async def require_own_vault(session: AsyncSession, storage_id: str, proof: bytes) -> None:
    """The first vault that a Storage shows is its own. Raises `NotNow` for another one."""
    member = await session.get(Member, storage_id, with_for_update=True)
    if member is None:
        return  # enrolled by a version that kept no members
    shown = hashlib.sha256(proof).digest()
    if proof and not member.vault_hash:
        with acting("attach"):
            member.vault_hash = shown
            await session.flush()
    elif proof and not hmac.compare_digest(member.vault_hash, shown):
        log.warning("a Storage comes with another vault", id=storage_id)
        raise NotNow(
            f"{storage_id} has had another vault: revoke it if it was stolen; if you have given it this one, ",
            APPROVE_STORAGE.of(storage_id=storage_id),
        )
    elif not proof and member.vault_hash and not await in_grace(session):
        raise NotNow(
            f"{storage_id} shows no vault: revoke it if it was stolen; if it is of an older version, ",
            APPROVE_STORAGE.of(storage_id=storage_id),
        )


async def have_one_vault(session: AsyncSession, *storage_ids: str) -> bool:
    """Whether these Storages have shown the same vault."""
    members = [await session.get(Member, storage_id) for storage_id in storage_ids]
    shown = {member.vault_hash if member is not None else b"" for member in members}
    return len(shown) == 1 and b"" not in shown


class Vaults:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def approve(self, storage_id: str) -> None:
        """The next vault that the Storage shows is its own. Raises `Unknown`."""
        async with self._database.transaction() as session:
            member = await session.get(Member, storage_id)
            if member is None or member.kind != "storage" or member.revoked:
                raise Unknown(f"there is no Storage {storage_id} with a certificate: ", Shows(LIST_STORAGES))
            member.vault_hash = b""
        log.info("a Storage may come with another vault", id=storage_id)
