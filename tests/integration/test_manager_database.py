"""The Manager's database: what it is migrated to, and what it says when it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from teletrunk.config import ConfigurationError
from teletrunk.database import make_engine
from teletrunk.v1 import call_pb2
from teletrunk_manager.db.database import SCHEMA, Database
from teletrunk_manager.db.tables import Base


async def _opened(url: str) -> None:
    database = Database(url)
    try:
        await database.open()
    finally:
        await database.close()


async def test_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    file = tmp_path / "manager.db"
    for _ in range(2):
        await _opened(f"sqlite+aiosqlite:///{file}")
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


REVISIONS = ["0001", "0009", "0010", "0011", "0012", "0013", "0014", "0016"]
RECORD = call_pb2.CallRecord(
    call_id="c1", account_id="a1", direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM, caller="office", called="@bob",
    invited_at=1.0, answered_at=2.0, ended_at=5.0, sip_status=200,
)  # fmt: skip
FURNITURE = (
    "INSERT INTO accounts (account_id, user_id, phone, username, name, session_id, storage_id) "
    "VALUES ('a1', 1, '+1', 'u', 'n', 's1', 'st1')",
    "INSERT INTO trunks (trunk_id, login, sealed_password, account_id, priority, comment, codecs) "
    "VALUES ('t1', 'office', '', 'a1', 0, '', 'PCMA')",
)


def _counts(connection: Connection) -> list[int]:
    return [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in ("accounts", "trunks", "calls")]  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("released", REVISIONS)
async def test_every_released_schema_goes_up_and_down_with_its_rows(
    kind: str, released: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'm.db'}"
    if kind == "postgresql":
        url = await request.getfixturevalue("postgres").database()
    engine = make_engine(url, migrating=True)

    async def at(revision: str) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(SCHEMA.upgrade, revision)

    async def done(work: Callable[[Connection], Any]) -> Any:
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    def furnish(connection: Connection) -> None:
        for statement in FURNITURE:
            connection.execute(text(statement))
        insert = text("INSERT INTO calls (call_id, account_id, invited_at, record) VALUES ('c1', 'a1', 1.0, :record)")
        connection.execute(insert, {"record": RECORD.SerializeToString()})

    try:
        await at("0001")
        await done(furnish)
        await at(released)
        await at("head")
        assert await done(_counts) == [1, 1, 1]
        row = await done(lambda c: c.execute(text("SELECT caller, called, ended_at, to_telegram FROM calls")).one())
        assert (row.caller, row.called, row.ended_at, bool(row.to_telegram)) == ("office", "@bob", 5.0, True)
        await at(released)
        assert await done(_counts) == [1, 1, 1], "nothing is lost on the way down"
        await at("head")
        assert await done(_counts) == [1, 1, 1]
    finally:
        await engine.dispose()


async def test_a_manager_that_may_not_upgrade_says_what_to_do(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'm.db'}")
    with pytest.raises(ConfigurationError, match="run teletrunk db upgrade"):
        await database.open(upgrade=False)
    await database.open()
    await database.open(upgrade=False)
    await database.close()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "postgresql+nosuch://x", "sqlite:///{path}/x"])
async def test_a_url_that_leads_nowhere_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await _opened(url.format(path=tmp_path))
    assert "\n" not in str(caught.value)


async def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_text("not a database at all" * 10)
    with pytest.raises(ConfigurationError, match="cannot be used: file is not a database"):
        await _opened(f"sqlite+aiosqlite:///{file}")
