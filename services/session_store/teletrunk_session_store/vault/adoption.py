"""Whether a vault is the one that was used last, or a copy of it.

Telegram destroys an auth key that it sees in two places, so a copy of a vault must not be used beside the vault that
it was made from. A vault therefore remembers where it lies and which Storages use it. One that a restore has written,
or that finds itself in another place, is held back until `teletrunk storage adopt` has found nobody at the old places.

In PostgreSQL the place is the cluster and the database, wherever the Storages run: pods may come and go. With SQLite it
is the file. A file that is another one by its number *and* by its path or machine was copied; a volume that is
mounted elsewhere, or a container with a new machine-id, keeps the file's number.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from teletrunk.backup.witness import Witness, machine_id
from teletrunk.database import database_time

from teletrunk_session_store.vault.tables import LEASES, ORIGIN, STORAGES

RESTORED: Final = "restored from a backup: run teletrunk storage adopt where its Storage is"
COPIED: Final = "its vault is a copy: run teletrunk storage adopt where its Storage is"
REASONS: Final = (RESTORED, COPIED)
_ID, _PLACE, _HELD_BACK, _WITNESSES = "id", "place", "held back", "witnesses"
_IDENTIFIERS = sa.text(
    "SELECT (SELECT system_identifier FROM pg_control_system())::text AS cluster, oid::text AS database "
    "FROM pg_database WHERE datname = current_database()"
)


async def settle(connection: AsyncConnection) -> str:
    """To be called when a Storage opens the vault. Returns why its sessions must not be run; empty: they may."""
    here = await _place(connection)
    kept = await _read(connection)
    if _ID not in kept:
        await _write(connection, _ID, _fresh_id())
    if held_back := kept.get(_HELD_BACK):
        return held_back
    if _PLACE in kept and not _is_same(json.loads(kept[_PLACE]), here):
        await hold_back(connection, COPIED, await storages(connection))
        return COPIED
    await _write(connection, _PLACE, json.dumps(here))
    return ""


async def hold_back(connection: AsyncConnection, reason: str, witnesses: Iterable[Witness]) -> None:
    """Makes the vault one that nobody runs sessions from until it is adopted. It gets an id of its own, so that its
    Storages can be told from those of the vault that it is a copy of; those are the witnesses."""
    await _write(connection, _ID, _fresh_id())
    await _write(connection, _HELD_BACK, reason)
    known = sorted({witness.to_json() for witness in witnesses})
    await _write(connection, _WITNESSES, json.dumps(known))
    await connection.execute(STORAGES.delete())


async def held_back(connection: AsyncConnection) -> str:
    """The reason; empty when sessions may be run."""
    return (await _read(connection)).get(_HELD_BACK, "")


async def witnesses(connection: AsyncConnection) -> list[Witness]:
    """Who used the vault that this one is a copy of."""
    return [Witness.from_json(text) for text in json.loads((await _read(connection)).get(_WITNESSES, "[]"))]


async def storages(connection: AsyncConnection) -> list[Witness]:
    """Who uses this vault."""
    return [Witness.from_json(seen) for seen in (await connection.scalars(sa.select(STORAGES.c.seen))).all()]


def vault_service(vault: str) -> str:
    """What a Storage's health service calls its vault: whoever knows the id can ask, with any client for health."""
    return f"vault/{vault}"


async def vault_id(connection: AsyncConnection) -> str:
    """By this id a Storage can be asked whether it uses this very vault."""
    return (await _read(connection))[_ID]


async def adopt(connection: AsyncConnection) -> None:
    """From now on this is the vault, and here is its place."""
    await connection.execute(ORIGIN.delete().where(ORIGIN.c.name.in_((_HELD_BACK, _WITNESSES))))
    await _write(connection, _PLACE, json.dumps(await _place(connection)))


async def note_storage(connection: AsyncConnection, storage: Witness) -> None:
    """A Storage has opened the vault: a copy of it will ask there."""
    await connection.execute(STORAGES.delete().where(STORAGES.c.storage_id == storage.service_id))
    await connection.execute(STORAGES.insert().values(storage_id=storage.service_id, seen=storage.to_json()))


async def owners_of_leases(connection: AsyncConnection) -> list[str]:
    """The ids of Storages that run sessions of this vault at present."""
    now = await database_time(connection)
    found = sa.select(LEASES.c.owner).where(LEASES.c.expires_at > now).distinct().order_by(LEASES.c.owner)
    return list((await connection.scalars(found)).all())


def _fresh_id() -> str:
    return secrets.token_hex(16)


async def _read(connection: AsyncConnection) -> dict[str, str]:
    return {row.name: row.value for row in await connection.execute(sa.select(ORIGIN))}


async def _write(connection: AsyncConnection, name: str, value: str) -> None:
    await connection.execute(ORIGIN.delete().where(ORIGIN.c.name == name))
    await connection.execute(ORIGIN.insert().values(name=name, value=value))


async def _place(connection: AsyncConnection) -> dict[str, Any]:
    """What tells this database from a copy of it; empty when that cannot be known."""
    if connection.dialect.name == "postgresql":
        try:
            async with connection.begin_nested():  # where it is forbidden to ask, only the question fails
                row = (await connection.execute(_IDENTIFIERS)).one()
        except DBAPIError:
            return {}
        return {"cluster": row.cluster, "database": row.database}
    return await asyncio.to_thread(_file_of, Path(connection.engine.url.database or ""))


def _file_of(path: Path) -> dict[str, Any]:
    return {"machine": machine_id(), "path": str(path.resolve()), "inode": path.stat().st_ino}


def _is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    if not before or not now:
        return True
    if "cluster" in before or "cluster" in now:
        return before == now
    # Containers have no machine's id, and everywhere the same paths: there only the file itself tells.
    same_place = bool(before["machine"]) and (before["machine"], before["path"]) == (now["machine"], now["path"])
    return bool(before["inode"] == now["inode"]) or same_place
