"""What people change is written down, and fills no disk."""

from __future__ import annotations

import asyncio
import json

import pytest
import sqlalchemy as sa
from teletrunk_manager.db.audit import asked_by
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Change, Share, Trunk
from teletrunk_manager.mistakes import TooOften
from teletrunk_manager.retention import retention_of_changes


@pytest.fixture
async def trunk(database: Database) -> str:
    async with database.transaction() as session:
        session.add(Account(account_id="a", user_id=1, session_id="s", storage_id="s"))
        session.add(Trunk(trunk_id="t", login="t", account_id="a", sealed_password=b""))
    return "t"


async def test_a_long_value_is_written_down_by_its_beginning_and_its_hash(database: Database, trunk: str) -> None:
    for end in "xy":
        async with database.transaction() as session:
            (await session.get_one(Trunk, trunk)).options = "o" * 60_000 + end
    async with database.transaction(reading=True) as session:
        change = (await session.scalars(sa.select(Change).order_by(Change.number.desc()))).first()
    assert change is not None
    before, after = json.loads(change.before)["options"], json.loads(change.after)["options"]
    assert len(after) < 600 and after.startswith("o" * 500 + "... (60001 characters, SHA-256 ") and before != after


async def test_one_administrator_changes_so_much_and_others_change_on(database: Database, trunk: str) -> None:
    async def change(who: str, rows: int) -> None:
        asked_by(who, for_all=who == "owner")
        async with database.transaction() as session:
            for number in range(rows):
                session.add(Share(account_id="a", administrator=f"{who}-{number}"))

    await asyncio.create_task(change("tenant", 3_001))
    with pytest.raises(TooOften, match=r"^too many changes: wait \d+ seconds$"):
        await asyncio.create_task(change("tenant", 1))
    await asyncio.create_task(change("other", 1))
    await asyncio.create_task(change("owner", 1))


async def test_old_changes_are_deleted(database: Database, trunk: str) -> None:
    async with database.transaction() as session:
        for _ in range(3):
            session.add(Change(at=1.0, who="w", action="update", kind="trunks", key="t", before="{}", after="{}"))
    keeping = asyncio.create_task(retention_of_changes(database, 1.0))
    try:
        async with asyncio.timeout(20):
            while len(left := await _kinds(database)) > 2:
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
    assert sorted(left) == ["accounts", "trunks"], "those of today"


async def _kinds(database: Database) -> list[str]:
    async with database.transaction(reading=True) as session:
        return list((await session.scalars(sa.select(Change.kind))).all())
