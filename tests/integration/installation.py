"""An installation of a test: where it is, and what it has left there."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from teletrunk.backup.witness import STORAGE, Witness
from teletrunk.database import make_engine
from teletrunk.v1 import call_pb2
from teletrunk_manager.db import tables
from teletrunk_manager.db.database import Database
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import KnownPeer, Vault
from teletrunk_session_store.vault.tables import TABLES

PASSPHRASE = "correct horse battery staple"
KEY = bytes(range(32))
PATIENCE_S = 60
KINDS = ["sqlite", "postgresql"]
Databases = Callable[[str, str], Any]


@dataclass
class Place:
    """Where an installation is, or shall be."""

    data: Path
    settings: dict[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """The command with this place's settings: its exit code, and what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk.cli.main", *arguments,
            env=kept | self.settings | {"TELETRUNK_DATA": str(self.data)},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode or 0, out.decode()

    @property
    def manager_url(self) -> str:
        return self.settings.get("TELETRUNK_DATABASE_URL", f"sqlite+aiosqlite:///{self.data / 'manager.db'}")

    @property
    def vault_url(self) -> str:
        return self.settings.get("TELETRUNK_VAULT_URL", f"sqlite+aiosqlite:///{self.data / 'vault.db'}")

    async def rows(self) -> dict[str, list[Any]]:
        """All that its databases hold, but what is of one vault only."""
        found = {}
        for url, metadata in ((self.manager_url, tables.Base.metadata), (self.vault_url, TABLES)):
            engine = make_engine(url)
            async with engine.connect() as connection:
                for table in metadata.sorted_tables:
                    if table.name not in ("leases", "origin", "storages"):
                        result = await connection.execute(sa.select(table))
                        found[table.name] = sorted((tuple(row) for row in result), key=repr)
            await engine.dispose()
        return found

    async def leave(self, *names: str) -> None:
        """Nothing is in the place, and nothing of ours is in its databases."""
        assert not [path for path in self.data.rglob("*") if path.is_file()] if self.data.exists() else True
        for url in {url for name in names if (url := self.settings.get(name))}:
            engine = make_engine(url)
            async with engine.connect() as connection:
                assert await connection.run_sync(lambda c: sa.inspect(c).get_table_names()) == []
            await engine.dispose()


async def furnish(place: Place, accounts: int = 3) -> None:
    """As an installation leaves it behind."""
    secrets = place.data / "secrets"
    secrets.mkdir(parents=True)
    vault_key = base64.b64encode(KEY)
    files = {
        "cluster.token": b"t" * 43,
        "manager.key": KEY,
        "vault.key": vault_key,
        "storage.id": b"st1",
        "worker.id": b"w1",
    }
    for name, content in files.items():
        (secrets / name).write_bytes(content)
    (place.data / "authority").mkdir()
    for name in ("authority.pem", "authority.key"):
        (place.data / "authority" / name).write_text(name)
    (place.data / "records" / "open").mkdir(parents=True)
    (place.data / "records" / "open" / "c7.json").write_text("{}")
    database = Database(place.manager_url)
    await database.open()
    record = call_pb2.CallRecord(call_id="c1", called="@bob").SerializeToString()
    async with database.transaction() as session:
        session.add(
            tables.Service(
                service_id="st1", kind="storage", name="n", version="0", address="127.0.0.1:1", last_seen=1.5
            )
        )
        session.add(tables.Subscription(subscription_id="p1", name="plan", lines=4))
        await session.flush()
        for number in range(accounts):
            session.add(
                tables.Account(
                    account_id=f"a{number}",
                    user_id=5_000_000_000 + number,
                    session_id=f"s{number}",
                    storage_id="st1",
                    subscription_id="p1",
                )
            )
        await session.flush()
        session.add(
            tables.Trunk(trunk_id="t1", login="office", sealed_password=b"\x00\xff", account_id="a0", sha256_only=True)
        )
        session.add(tables.Call(call_id="c1", account_id="a0", invited_at=1.25, record=record, caller="M\u00fcller"))
    await database.close()
    vault = Vault(place.vault_url, Seal(KEY))
    await vault.open()
    for number in range(accounts):
        await vault.put_session(f"s{number}", 5_000_000_000 + number, f"session {number}")
    await vault.put_peers("s0", [KnownPeer(1, -(2**63), "Ann", "", "ann", "1555")])
    await vault.note_flood("s0", "phone.requestCall", 12.5)
    await vault.note_call("s0", 2**62, -5)
    await vault.introduce(Witness(STORAGE, "127.0.0.1:1", "st1"))
    await vault.close()
