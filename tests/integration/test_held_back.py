"""A vault that was copied is held back until somebody says which one runs its sessions."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from teletrunk.database import make_engine
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

from tests.integration.installation import KEY, KINDS, Databases, furnish


async def held_back(url: str) -> str:
    vault = Vault(url, Seal(KEY))
    await vault.open()
    await vault.close()
    return vault.held_back


async def test_a_copied_data_directory_is_held_back_and_a_moved_one_is_not(
    place: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await place("old", "sqlite")
    await furnish(old)
    shutil.copytree(old.data, tmp_path / "copy")
    for _ in range(2):
        assert await held_back(f"sqlite+aiosqlite:///{tmp_path / 'copy' / 'vault.db'}") == adoption.COPIED
    assert await held_back(old.vault_url) == ""
    monkeypatch.setattr("teletrunk_session_store.vault.adoption.machine_id", lambda: "another pod")
    assert await held_back(old.vault_url) == ""
    old.data.rename(tmp_path / "moved")
    assert await held_back(f"sqlite+aiosqlite:///{tmp_path / 'moved' / 'vault.db'}") == ""


async def test_a_copied_postgresql_vault_is_held_back(place: Databases, postgres: Any) -> None:
    old = await place("old", "postgresql")
    await furnish(old)
    name = f"copy_of_{old.vault_url.rpartition('/')[2]}"
    engine = make_engine(await postgres.database())
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {old.vault_url.rpartition('/')[2]}"))
    await engine.dispose()
    assert await held_back(f"{old.vault_url.rpartition('/')[0]}/{name}") == adoption.COPIED
    assert await held_back(old.vault_url) == ""


async def test_a_vault_from_before_it_had_versions_is_taken_over(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}"
    vault = Vault(url, Seal(KEY))
    await vault.open()
    await vault.put_session("s1", 7, "a session")
    await vault.close()
    with sqlite3.connect(tmp_path / "vault.db") as connection:
        for table in ("vault_version", "origin", "storages", "flood_waits", "call_requests", "method_waits"):
            connection.execute(f"DROP TABLE {table}")
    connection.close()
    for _ in range(2):
        assert await held_back(url) == ""
    again = Vault(url, Seal(KEY))
    await again.open()
    assert await again.get_session("s1") == "a session"
    await again.note_flood("s1", "phone.requestCall", 5.0)
    await again.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_adopt_is_refused_while_somebody_runs_sessions_of_this_vault(kind: str, place: Databases) -> None:
    """A Storage of an older version knows nothing of copies, but it takes leases."""
    here = await place("here", kind)
    await furnish(here)
    vault = Vault(here.vault_url, Seal(KEY))
    await vault.open()
    assert await vault.take_lease("s0", "older", 300) == 1
    engine = make_engine(here.vault_url)
    async with engine.begin() as connection:
        await adoption.hold_back(connection, adoption.RESTORED, [])
    code, said = await here.run("storage", "adopt", "--yes")
    assert (code, said.count("\n")) == (2, 1) and "the Session Storage older runs sessions of this vault" in said
    await vault.release_lease("s0", "older")
    code, said = await here.run("storage", "adopt", "--yes")
    assert code == 0, said
    await vault.look_for_adoption()
    assert vault.held_back == ""
    await vault.close()
    await engine.dispose()


async def test_adopt_without_a_vault_makes_none(place: Databases) -> None:
    here = await place("here", "sqlite")
    code, said = await here.run("storage", "adopt", "--yes")
    assert (code, said.count("\n")) == (2, 1) and "there is no vault" in said
    assert not here.data.exists()
