"""teletrunk restore: all or nothing, and only into an empty place.

The file is read to its end before anything is written. Rows go in within one transaction a database, files under other
names; only when everything is there the transactions are committed and the files get their names. Whoever is killed
between these last steps leaves a mark in DATA, and no service starts on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from teletrunk.backup import archive, rows
from teletrunk.backup.archive import Contents, Manifest, Rows
from teletrunk.backup.database_away import failure
from teletrunk.backup.part import Part, Store
from teletrunk.backup.sealed_file import BackupError
from teletrunk.database import line_of, make_engine, sqlite_file
from teletrunk.running import HALF_RESTORED, UNFINISHED

Files = Mapping[str, bytes]


class HalfDone(BackupError):
    """Some of it is in its place, and some is not."""


async def restore(path: Path, passphrase: str, parts: list[Part], data: Path) -> Manifest:
    """Restores those parts. Raises `BackupError` or `ConfigurationError`; nothing is left behind then."""
    manifest, files = archive.verify(path, passphrase)
    try:
        for part in parts:
            _require(part, manifest, files.get(part.name, {}))
        with _mark(data), _staged(_placed(parts, files)) as staged, _without_remains(parts):
            async with contextlib.AsyncExitStack() as stack:
                places = {
                    part.name: await stack.enter_async_context(_empty(part.store))
                    for part in parts
                    if part.store is not None
                }
                with archive.opened(path, passphrase) as items:
                    tables = {name: await _make(manifest.parts[name], *place) for name, place in places.items()}
                    for item in items:
                        if isinstance(item, Rows) and item.part in places:
                            await rows.insert(places[item.part][1], tables[item.part][item.table], item.rows)
                for part in parts:
                    if part.name in places:
                        await _finish(part, manifest, files[part.name], tables[part.name], places[part.name][1])
                try:
                    for _, connection in places.values():
                        await connection.commit()
                    for temporary, place in staged:
                        temporary.replace(place)
                except BaseException as error:
                    raise HalfDone(f"{data} {HALF_RESTORED}") from error
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise failure(f"it cannot be restored: {line_of(error)}", error) from None
    return manifest


def _require(part: Part, manifest: Manifest, files: Files) -> None:
    """Raises `BackupError` when the part cannot be restored here."""
    contents = manifest.parts.get(part.name)
    if contents is None:
        raise BackupError(f"the backup has no part {part.name}: it has {', '.join(manifest.parts)}")
    if part.store is not None and not part.store.schema.knows(contents.schema):
        raise BackupError(f"the backup is of a newer Teletrunk ({manifest.version}): install that version")
    part.refuse(files, contents.note)
    for name, content in files.items():
        place = part.place(name)
        if place is not None and place.exists() and place.read_bytes() != content:
            raise BackupError(f"{place} is in the way: restore into an empty place")
    file = None if part.store is None else sqlite_file(part.store.url)
    if file is not None and file.exists():
        raise BackupError(f"{file} is in the way: restore into an empty place")


def _placed(parts: list[Part], files: Mapping[str, Files]) -> dict[Path, bytes]:
    """What is to be written where."""
    named = ((part.place(name), content) for part in parts for name, content in files[part.name].items())
    return {place: content for place, content in named if place is not None and not place.exists()}


@contextlib.contextmanager
def _mark(data: Path) -> Iterator[None]:
    """While the block is at work, and for ever if it is killed, no service starts on this directory."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = data / UNFINISHED
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise BackupError(f"{data} {HALF_RESTORED}") from None
    try:
        yield
    except HalfDone:
        raise
    except BaseException:
        mark.unlink()
        raise
    mark.unlink()


@contextlib.contextmanager
def _staged(files: Mapping[Path, bytes]) -> Iterator[list[tuple[Path, Path]]]:
    """The files on disk, each under another name beside its own; the block gives them their names, or none."""
    staged: list[tuple[Path, Path]] = []
    try:
        for place, content in files.items():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
            staged.append((temporary, place))
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        yield staged
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _without_remains(parts: list[Part]) -> Iterator[None]:
    """A SQLite file that was begun is removed when the block fails: it was not there before."""
    try:
        yield
    except BaseException:
        for part in parts:
            file = None if part.store is None else sqlite_file(part.store.url)
            for suffix in ("", "-wal", "-shm", "-journal") if file is not None else ():
                Path(f"{file}{suffix}").unlink(missing_ok=True)
        raise


@contextlib.asynccontextmanager
async def _empty(store: Store) -> AsyncIterator[tuple[Store, AsyncConnection]]:
    """A transaction in a database without any table of ours. Raises `BackupError` for another one."""
    engine = make_engine(store.url, migrating=True)
    try:
        async with engine.connect() as connection:
            names = [*(table.name for table in store.tables), store.schema.version_table]
            if taken := await connection.run_sync(rows.occupied, names):
                where = engine.url.render_as_string(hide_password=True)
                raise BackupError(f"{where} has a table {taken} already: restore into an empty database")
            yield store, connection
    finally:
        await engine.dispose()


async def _make(contents: Contents, store: Store, connection: AsyncConnection) -> dict[str, sa.Table]:
    """The tables as they were when the backup was made."""
    await connection.run_sync(store.schema.upgrade, contents.schema)
    return await connection.run_sync(rows.tables_of, list(contents.tables))


async def _finish(
    part: Part, manifest: Manifest, files: Files, tables: Mapping[str, sa.Table], connection: AsyncConnection
) -> None:
    found = await rows.counts(connection, list(tables.values()))
    if part.store is None or found != manifest.parts[part.name].tables:
        raise BackupError(f"not every row of the part {part.name} has arrived")
    await rows.go_on_counting(connection, list(tables.values()))
    await connection.run_sync(part.store.schema.upgrade)
    await part.restored(connection, files, manifest.witnesses)
