"""What a Session Storage keeps: its vault with the key that opens it, and who it is."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from teletrunk.backup.part import Part, Row, Store
from teletrunk.backup.sealed_file import BackupError
from teletrunk.backup.witness import MANAGER, Witness, is_loopback, machine_id, reached
from teletrunk.config import load

from teletrunk_session_store.config import StorageSettings
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.seal import Seal, Sealed, WrongKey
from teletrunk_session_store.vault.tables import CHECK, LEASES, META, ORIGIN, SCHEMA, SESSIONS, STORAGES, TABLES

_KEY = "secrets/vault.key"
_PAPERS = ("service", "authority")
_OF_THIS_VAULT = (LEASES, ORIGIN, STORAGES)  # who runs what, and where: another vault has its own
_OWNERS = {SESSIONS.name: "session_id", META.name: "name"}


def part() -> Part:
    """Of this machine's settings. Raises `ConfigurationError`."""
    return StoragePart(load(StorageSettings))


class StoragePart(Part):
    def __init__(self, settings: StorageSettings) -> None:
        names = ("secrets/cluster.token", "secrets/storage.id", *(f"identity/storage/{name}.pem" for name in _PAPERS))
        paths = {name: settings.data / name for name in names}
        given, needed = settings.given_token(), ["secrets/storage.id"]
        if settings.vault_key_command is None:
            paths[_KEY] = settings.vault_key_file or settings.data / _KEY
            needed.append(_KEY)
        if settings.vault_key is not None:
            given[_KEY] = settings.vault_key.get_secret_value().encode()
        tables = [table for table in TABLES.sorted_tables if table not in _OF_THIS_VAULT]
        store = Store(settings.database_url(), SCHEMA, tables, self._under_our_key)
        super().__init__("storage", paths, given, tuple(needed), store, _note(settings))
        self._settings = settings
        self._seal: Seal | None = None
        self._opens_a_session = False

    def _under_our_key(self, table: sa.Table, row: Row) -> Row:
        """While the vault's key is changed some rows are still under the last one, which the backup does not hold."""
        owner = _OWNERS.get(table.name)
        if owner is None:
            return row
        if self._seal is None:
            self._seal = Seal(self._settings.key(), self._settings.other_keys())
        try:
            moved = self._seal.rewrapped(row["wrapped_key"], row[owner])
        except WrongKey:
            if row[owner] != CHECK:
                return row  # a damaged row is kept as it is
            if not self._opens_a_session:  # they come before the check
                raise BackupError("the vault was made with another key than the settings give") from None
            return row | vars(self._seal.close(CHECK.encode(), CHECK))  # it is the check that is damaged
        self._opens_a_session = True
        return row if moved is None else row | {"wrapped_key": moved}

    def refuse(self, files: Mapping[str, bytes], note: str) -> None:
        file = self._settings.vault_key_file
        is_here = self._settings.gives_vault_key and (file is None or file.exists())
        if _KEY not in files and not is_here:
            raise BackupError(f"{note}: set TELETRUNK_VAULT_KEY_COMMAND here too")
        if _KEY in files and is_here and self._key_of(files) != self._settings.key():
            raise BackupError("the settings give another vault key than the backup's: set none")

    def place(self, name: str) -> Path | None:
        from_elsewhere = self._settings.gives_vault_key and self._settings.vault_key_file is None
        return None if name == _KEY and from_elsewhere else super().place(name)

    def _key_of(self, files: Mapping[str, bytes]) -> bytes:
        return base64.b64decode(files[_KEY]) if _KEY in files else self._settings.key()

    async def witnesses(self, connection: AsyncConnection | None) -> list[Witness]:
        here = machine_id()
        addresses = [address.strip() for address in self._settings.manager_address.split(",")]
        found = [Witness(MANAGER, reached(each), "", here if is_loopback(each) else "") for each in addresses]
        if connection is not None:
            found += await adoption.storages(connection)
            found += await adoption.witnesses(connection)  # of a copy that nobody has adopted yet
        return found

    async def restored(self, connection: AsyncConnection, files: Mapping[str, bytes], old: list[Witness]) -> None:
        row = (await connection.execute(sa.select(META).where(META.c.name == CHECK))).one()
        try:
            Seal(self._key_of(files)).open(Sealed(row.wrapped_key, row.value), CHECK)
        except WrongKey:
            raise BackupError("the vault does not open with the key that the settings give") from None
        await adoption.hold_back(connection, adoption.RESTORED, old)


def _note(settings: StorageSettings) -> str:
    if settings.vault_key_command is None:
        return ""
    program = next(iter(shlex.split(settings.vault_key_command)), "")
    return f"the vault's key is not in it: the command {program} holds it"
