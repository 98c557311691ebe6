"""The Manager's database: what it is migrated to, and what it says when it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from teletrunk.config import ConfigurationError
from teletrunk_manager.db.database import Database
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
