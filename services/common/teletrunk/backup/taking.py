"""teletrunk backup: one consistent look at each database, while the services go on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from teletrunk import __version__
from teletrunk.backup import rows
from teletrunk.backup.archive import ArchiveWriter, Contents, File, Manifest, Rows, writing
from teletrunk.backup.database_away import failure
from teletrunk.backup.part import Part, Store
from teletrunk.backup.sealed_file import BackupError, new_file
from teletrunk.backup.witness import Witness
from teletrunk.database import line_of


async def take(path: Path, passphrase: str, parts: list[Part]) -> Manifest:
    """Writes the backup. Raises `BackupError`, and leaves no file then."""
    for part in parts:
        if absent := part.missing():
            raise BackupError(f"there is no {part.name} here ({absent} is missing): --only says which parts to back up")
    try:
        files = {part.name: [File(part.name, name, content) for name, content in part.files()] for part in parts}
        async with contextlib.AsyncExitStack() as stack:
            looks: dict[str, AsyncConnection] = {}
            for part in parts:  # the Manager first: whichever account it knows by then has its session in the vault
                if part.store is not None:
                    looks[part.name] = await stack.enter_async_context(_look(part.store))
            contents, witnesses = {}, set[Witness]()
            for part in parts:
                contents[part.name] = await _contents(part, looks.get(part.name), len(files[part.name]))
                witnesses |= set(await part.witnesses(looks.get(part.name)))
            known = sorted(witnesses, key=Witness.to_json)
            manifest = Manifest(time.time(), socket.gethostname(), __version__, contents, known)
            with new_file(path) as file, writing(file, passphrase) as archive:
                archive.begin(manifest)
                for part in parts:
                    await _write(archive, part, looks.get(part.name), files[part.name])
            return manifest
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise failure(f"it cannot be backed up: {line_of(error)}", error) from None


@contextlib.asynccontextmanager
async def _look(store: Store) -> AsyncIterator[AsyncConnection]:
    """A transaction that has asked its first question: from now on it sees the database as it is at this moment."""
    engine = rows.reading(store.url)
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(store.schema.revision)
            if revision != store.schema.head:
                needed = f"{store.schema.what} has schema {revision}, and {store.schema.head} is needed"
                raise BackupError(f"{needed}: start its service once, or run teletrunk db upgrade")
            yield connection
    finally:
        await engine.dispose()


async def _contents(part: Part, look: AsyncConnection | None, files: int) -> Contents:
    if part.store is None or look is None:
        return Contents(files=files, note=part.note)
    return Contents(part.store.schema.head, await rows.counts(look, part.store.tables), files, part.note)


async def _write(archive: ArchiveWriter, part: Part, look: AsyncConnection | None, files: list[File]) -> None:
    for file in files:
        archive.add(file)
    if part.store is None or look is None:
        return
    for table in part.store.tables:
        async for batch in rows.dump(look, table, part.store.changed):
            archive.add(Rows(part.name, table.name, batch))
