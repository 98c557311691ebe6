"""Backup and restore by the command, on both kinds of database; what a restore refuses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from teletrunk.backup import taking
from teletrunk.backup.part import Part, Store
from teletrunk.backup.restoring import restore
from teletrunk.backup.sealed_file import BackupError
from teletrunk.database import make_engine
from teletrunk.schema import Schema
from teletrunk_manager.db import tables
from teletrunk_manager.db.database import SCHEMA, Database
from teletrunk_session_store.backup import StoragePart
from teletrunk_session_store.config import StorageSettings
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

from tests.integration.installation import KEY, KINDS, PASSPHRASE, PATIENCE_S, Databases, Place, furnish
from tests.servers import Postgres


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
async def test_everything_comes_back_in_any_kind_of_database(
    source: str, target: str, place: Databases, tmp_path: Path, passphrase: list[str]
) -> None:
    old, new, file = await place("old", source), await place("new", target), tmp_path / "backup"
    await furnish(old)
    code, said = await old.run("backup", str(file), *passphrase)
    assert code == 0, said
    assert file.stat().st_mode & 0o777 == 0o600
    assert "3 accounts" in said and "3 sessions" in said and "worker" in said
    assert await new.run("backup", "--list", str(file), *passphrase) == (0, said.rpartition("Written to")[0])
    code, said = await new.run("restore", str(file), *passphrase)
    assert code == 0, said
    before = await old.rows()
    assert await new.rows() == before and before["accounts"] and before["sessions"] and before["changes"]
    for name in ("secrets/storage.id", "secrets/worker.id", "secrets/vault.key", "secrets/manager.key",
                 "secrets/cluster.token", "authority/authority.key", "records/open/c7.json"):  # fmt: skip
        assert (new.data / name).read_bytes() == (old.data / name).read_bytes()
    assert {path.stat().st_mode & 0o077 for path in new.data.rglob("*")} == {0}
    database = Database(new.manager_url)
    await database.open()
    async with database.transaction() as session:
        session.add(tables.Subscription(subscription_id="p2", name="another", lines=1))  # its change gets a number
    await database.close()
    vault = Vault(new.vault_url, Seal(KEY))
    await vault.open()
    assert vault.held_back == adoption.RESTORED
    assert await vault.take_lease("s0", "st1", 20) is None
    assert await vault.get_session("s0") == "session 0"
    await vault.close()
    assert (await old.run("backup", str(file), *passphrase))[1].startswith(f"teletrunk: {file} exists already")
    code, said = await new.run("restore", str(file), *passphrase)
    assert (code, said.count("\n")) == (2, 1) and "empty" in said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A backup of several chunks."""
    directory = tmp_path_factory.mktemp("whole")
    old = Place(directory / "old")
    await furnish(old)
    (old.data / "records" / "big.json").write_bytes(os.urandom(200_000))
    (directory / "passphrase").touch(0o600)
    (directory / "passphrase").write_text(PASSPHRASE)
    arguments = ["--passphrase-file", str(directory / "passphrase")]
    code, said = await old.run("backup", str(directory / "backup"), *arguments)
    assert code == 0, said
    return (directory / "backup").read_bytes()


@pytest.fixture
def made(whole: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "backup"
    file.write_bytes(whole)
    return file


HARM = ["first byte", "salt", "first chunk", "middle", "last byte", "cut", "chunk gone", "longer", "swapped"]


@pytest.mark.parametrize("harm", HARM)
async def test_a_backup_that_is_not_whole_is_refused_before_anything_is_written(
    harm: str, made: Path, place: Databases, passphrase: list[str]
) -> None:
    new, content = await place("new", "sqlite"), bytearray(made.read_bytes())
    head, chunk = 35, 65_536 + 16
    assert len(content) > head + 3 * chunk
    at = {"first byte": 0, "salt": 20, "first chunk": 100, "middle": len(content) // 2, "last byte": len(content) - 1}
    if harm in at:
        content[at[harm]] ^= 1
    elif harm == "cut":
        del content[-1000:]
    elif harm == "chunk gone":
        del content[head + 3 * chunk :]
    elif harm == "longer":
        content += b"more"
    else:
        first, second = content[head : head + chunk], content[head + chunk : head + 2 * chunk]
        content[head : head + 2 * chunk] = second + first
    made.write_bytes(content)
    code, said = await new.run("restore", str(made), *passphrase)
    assert (code, said.count("\n")) == (2, 1), said
    assert not new.data.exists()


async def test_a_wrong_passphrase_and_other_files_are_refused(made: Path, place: Databases, tmp_path: Path) -> None:
    new, wrong = await place("new", "sqlite"), tmp_path / "wrong"
    wrong.touch(0o600)
    for text, file, expected in (
        ("not the passphrase", made, "the passphrase is wrong, or the file is damaged"),
        ("short", made, "12 characters or more"),
        (PASSPHRASE, wrong, "it is no backup"),
        (PASSPHRASE, tmp_path / "none", "cannot be read: No such file"),
    ):
        wrong.write_text(text)
        code, said = await new.run("restore", str(file), "--passphrase-file", str(wrong))
        assert (code, said.count("\n")) == (2, 1) and expected in said
    assert not new.data.exists()


@pytest.mark.parametrize("thing", ["secret", "database", "tables", "unfinished"])
async def test_a_restore_into_a_place_that_is_not_empty_names_what_is_in_the_way(
    thing: str, made: Path, place: Databases, passphrase: list[str]
) -> None:
    new = await place("new", "postgresql" if thing == "tables" else "sqlite")
    (new.data / "secrets").mkdir(parents=True)
    expected = {"secret": "manager.key is in the way", "database": "vault.db is in the way",
                "tables": "has a table", "unfinished": "holds half of a restored installation"}[thing]  # fmt: skip
    if thing == "secret":
        (new.data / "secrets" / "manager.key").write_bytes(bytes(32))
    elif thing == "database":
        (new.data / "vault.db").touch()
    elif thing == "unfinished":
        (new.data / "restore.unfinished").touch()
    else:
        database = Database(new.manager_url)
        await database.open()
        await database.close()
    before = {path for path in new.data.rglob("*") if path.is_file()}
    code, said = await new.run("restore", str(made), *passphrase)
    assert (code, said.count("\n")) == (2, 1) and expected in said
    assert {path for path in new.data.rglob("*") if path.is_file()} == before
    if thing == "unfinished":
        code, said = await new.run("session-store")
        assert code == 2 and expected in said


class _Old(Schema):
    """The Manager's schema as an earlier, or a later, version knows it."""

    revision_then = "0011"

    @property
    def head(self) -> str:
        return self.revision_then


class _Newer(_Old):
    revision_then = "9999"

    def revision(self, connection: sa.Connection) -> str:
        return self.revision_then


def _manager_part(place: Place, schema: Schema, kept: list[sa.Table]) -> Part:
    return Part("manager", {"secrets/manager.key": place.data / "key"}, {}, (), Store(place.manager_url, schema, kept))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_older_schema_is_brought_forward_and_a_newer_one_is_refused(
    kind: str, place: Databases, tmp_path: Path
) -> None:
    old, new = await place("old", kind), await place("new", kind)
    old.data.mkdir()
    engine, then = make_engine(old.manager_url, migrating=True), sa.MetaData()
    async with engine.begin() as connection:
        await connection.run_sync(SCHEMA.upgrade, "0011")
        await connection.run_sync(then.reflect)
        account = {"account_id": "a1", "user_id": 1, "session_id": "s1", "storage_id": "st", "version": 1}
        account |= dict.fromkeys(("phone", "username", "name", "owner"), "")
        await connection.execute(then.tables["accounts"].insert().values(**account))
        trunk = {"trunk_id": "t1", "login": "office", "sealed_password": b"x", "account_id": "a1", "version": 1}
        trunk |= {"priority": 0, "comment": "", "codecs": "PCMA", "administrator": ""}
        await connection.execute(then.tables["trunks"].insert().values(**trunk))
    await engine.dispose()
    kept = [table for table in then.sorted_tables if table.name != "alembic_version"]
    for schema in (_Old, _Newer):
        part = _manager_part(old, schema("the database", SCHEMA.scripts, SCHEMA.lock), kept)
        await taking.take(tmp_path / schema.__name__, PASSPHRASE, [part])
    here = _manager_part(new, SCHEMA, list(tables.Base.metadata.sorted_tables))
    with pytest.raises(BackupError, match="of a newer Teletrunk"):
        await restore(tmp_path / "_Newer", PASSPHRASE, [here], new.data)
    await new.leave("TELETRUNK_DATABASE_URL")
    await restore(tmp_path / "_Old", PASSPHRASE, [here], new.data)
    database = Database(new.manager_url)
    await database.open(upgrade=False)
    async with database.transaction(reading=True) as session:
        assert [trunk.sha256_only for trunk in await session.scalars(sa.select(tables.Trunk))] == [False]
    await database.close()


class _Failing(StoragePart):
    async def restored(self, *arguments: Any) -> None:
        await super().restored(*arguments)
        raise OSError("no space left on device")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_restore_that_fails_half_way_leaves_nothing(
    kind: str, made: Path, place: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await place("new", kind)
    monkeypatch.setenv("TELETRUNK_DATA", str(new.data))
    for name, value in new.settings.items():
        monkeypatch.setenv(name, value)
    from teletrunk_manager.backup import part as manager_part

    with pytest.raises(BackupError, match="no space left on device"):
        await restore(made, PASSPHRASE, [manager_part(), _Failing(StorageSettings())], new.data)
    await new.leave("TELETRUNK_DATABASE_URL", "TELETRUNK_VAULT_URL")


async def test_a_restore_goes_on_when_its_database_was_restarted_in_the_middle(
    made: Path, tmp_path: Path, passphrase: list[str]
) -> None:
    server = Postgres()
    try:
        new = Place(tmp_path / "new", {"TELETRUNK_DATABASE_URL": await server.database()})
        async with _no_change_of_schema(new.manager_url) as in_the_middle:
            restoring = asyncio.create_task(new.run("restore", str(made), *passphrase))
            await in_the_middle()
            server.stop()  # its locks go with it
        server.start()
        code, said = await restoring
        assert code == 0 and len((await new.rows())["calls"]) == 1, said
    finally:
        server.close()
    assert "teletrunk: it cannot be restored: the database closed the connection: again in 1 s" in said.splitlines()
    assert "\nRestored: manager, storage" in said


@contextlib.asynccontextmanager
async def _no_change_of_schema(url: str) -> AsyncIterator[Callable[[], Any]]:
    """Holds the lock of those that change it. Yields what waits until somebody waits for it."""
    engine = make_engine(url)
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    async def somebody_waits() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await holder.scalar(waiting):
                await asyncio.sleep(0.05)

    async with engine.connect() as holder:
        await holder.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": SCHEMA.lock})
        yield somebody_waits
        await holder.invalidate()
    await engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_backup_is_of_one_moment_while_others_write(
    kind: str, place: Databases, tmp_path: Path, passphrase: list[str]
) -> None:
    """Each transaction writes an account and a call: whatever the moment, there are as many of one as of the other."""
    old, new = await place("old", kind), await place("new", "sqlite")
    await furnish(old)
    database = Database(old.manager_url)
    await database.open()
    written = 1

    async def write() -> None:
        nonlocal written
        while True:
            async with database.transaction() as session:
                name = f"b{written}"
                session.add(tables.Account(account_id=name, user_id=written, session_id=name, storage_id="st1"))
                session.add(tables.Call(call_id=name, account_id=name, invited_at=1.0, record=bytes(2000)))
            written += 1
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    try:
        code, said = await old.run("backup", str(tmp_path / "backup"), *passphrase)
    finally:
        before = written
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await database.close()
    assert code == 0, said
    code, said = await new.run("restore", str(tmp_path / "backup"), *passphrase)
    assert code == 0, said
    found = await new.rows()
    assert 3 < len(found["accounts"]) < before and len(found["accounts"]) - 3 == len(found["calls"]) - 1


async def test_one_part_alone_and_what_is_missing(place: Databases, tmp_path: Path, passphrase: list[str]) -> None:
    old, new = await place("old", "sqlite"), await place("new", "sqlite")
    await furnish(old)
    (old.data / "manager.db").unlink()
    code, said = await old.run("backup", str(tmp_path / "all"), *passphrase)
    assert (code, said.count("\n")) == (2, 1) and "there is no manager here" in said and "--only" in said
    code, said = await old.run("backup", str(tmp_path / "part"), "--only", "storage", *passphrase)
    assert code == 0, said
    code, said = await new.run("restore", str(tmp_path / "part"), *passphrase)
    assert code == 0, said
    assert sorted(path.name for path in new.data.rglob("*") if path.is_file()) == [
        "cluster.token", "storage.id", "vault.db", "vault.key",
    ]  # fmt: skip
    code, said = await new.run("restore", str(tmp_path / "part"), "--only", "manager", *passphrase)
    assert code == 2 and "the backup has no part manager" in said


async def test_keys_that_the_settings_give(place: Databases, tmp_path: Path, passphrase: list[str]) -> None:
    """A file's key is in the backup, a command's is not; rows that another key still holds come under our own."""
    old, new, fresh = await place("old", "sqlite"), await place("new", "sqlite"), bytes(reversed(KEY))
    await furnish(old)
    kms = tmp_path / "kms"
    kms.write_bytes(base64.b64encode(fresh))
    (old.data / "secrets" / "manager.key").rename(tmp_path / "manager.key")
    (old.data / "secrets" / "vault.key").unlink()
    by_command = {"TELETRUNK_VAULT_KEY_COMMAND": f"cat {kms}"}
    old.settings = by_command | {"TELETRUNK_VAULT_OTHER_KEYS": base64.b64encode(KEY).decode(),
                                 "TELETRUNK_KEY_FILE": str(tmp_path / "manager.key")}  # fmt: skip
    code, said = await old.run("backup", str(tmp_path / "backup"), *passphrase)
    assert code == 0 and "the command cat holds it" in said
    code, said = await new.run("restore", str(tmp_path / "backup"), *passphrase)
    assert code == 2 and "set TELETRUNK_VAULT_KEY_COMMAND here too" in said
    new.settings = {"TELETRUNK_VAULT_KEY": base64.b64encode(KEY).decode()}
    code, said = await new.run("restore", str(tmp_path / "backup"), *passphrase)
    assert code == 2 and "does not open with the key" in said
    new.settings = by_command
    code, said = await new.run("restore", str(tmp_path / "backup"), *passphrase)
    assert code == 0, said
    assert (new.data / "secrets" / "manager.key").read_bytes() == KEY
    assert not (new.data / "secrets" / "vault.key").exists()
    vault = Vault(new.vault_url, Seal(fresh))
    await vault.open()
    assert await vault.get_session("s2") == "session 2"
    await vault.close()
