"""SQLite has one writer at a time: who has to wait does so in line, and who only reads does not wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from teletrunk.errors import Refusal
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import BannedAddress
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

_WRITERS = 25
_EACH_S = 0.1  # as long as a busy machine takes for one


@pytest.fixture
async def manager_database(tmp_path: Path) -> Database:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/manager.db")
    await database.open()
    return database


async def test_many_who_write_at_once_all_have_their_turn(manager_database: Database) -> None:
    async def write(number: int) -> None:
        async with manager_database.transaction() as session:
            session.add(BannedAddress(network=f"192.0.2.{number}", until=1.0, times=1))
            await session.flush()
            await asyncio.sleep(_EACH_S)

    await asyncio.gather(*map(write, range(_WRITERS)))
    async with manager_database.transaction(reading=True) as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(BannedAddress)) == _WRITERS
    await manager_database.close()


async def test_a_turn_that_does_not_come_is_a_refusal(manager_database: Database) -> None:
    async with manager_database._turns.mine():
        with pytest.raises(Refusal, match="Database error"):
            async with manager_database.transaction():
                raise AssertionError("two at once")
    async with manager_database.transaction():
        pass
    await manager_database.close()


async def test_who_reads_a_vault_waits_for_nobody(tmp_path: Path) -> None:
    vault = Vault(f"sqlite+aiosqlite:///{tmp_path}/vault.db", Seal(bytes(32)))
    await vault.open()
    async with vault._writing() as connection, asyncio.timeout(1.0):
        await connection.execute(sa.text("SELECT 1"))
        assert await vault.session_ids() == {}
    await vault.close()


async def test_who_is_cancelled_gives_the_file_back_before_it_is_closed(
    manager_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        while True:
            async with manager_database.transaction(reading=True) as session:
                await session.execute(sa.text("SELECT 1"))

    readers = [asyncio.create_task(read()) for _ in range(8)]
    await asyncio.sleep(0.1)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await manager_database.close()
    assert manager_database._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert not caplog.records
