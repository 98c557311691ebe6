"""What is in a backup: JSON, one object a line, gzipped and sealed. The first line says what follows.

Rows stand there by the names of their columns, so that they go into any kind of database.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from teletrunk.backup.part import Row
from teletrunk.backup.sealed_file import BackupError, SealedReader, SealedWriter
from teletrunk.backup.witness import Witness

_FORMAT: Final = 1


@dataclass(frozen=True)
class Contents:
    """One part: its schema, the rows of each table (tables with references behind what they refer to), files by name,
    and what a person must know."""

    schema: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    files: int = 0
    note: str = ""


@dataclass(frozen=True)
class Manifest:
    """`made_at` is Unix time, `host` the name of the machine; `version` is the program's."""

    made_at: float
    host: str
    version: str
    parts: dict[str, Contents]
    witnesses: list[Witness]

    def to_json(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Manifest:
        """Raises `BackupError` for one of a newer version."""
        if said.pop("format") != _FORMAT:
            raise BackupError("it is a backup of a newer Teletrunk: install that version")
        parts = {name: Contents(**contents) for name, contents in said.pop("parts").items()}
        return cls(parts=parts, witnesses=[Witness(**each) for each in said.pop("witnesses")], **said)


@dataclass(frozen=True)
class File:
    part: str
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Rows:
    part: str
    table: str
    rows: list[Row] = field(repr=False)


class ArchiveWriter:
    def __init__(self, lines: BinaryIO | gzip.GzipFile) -> None:
        self._lines = lines

    def begin(self, manifest: Manifest) -> None:
        self._write(manifest.to_json())

    def add(self, item: File | Rows) -> None:
        if isinstance(item, File):
            content = base64.b64encode(item.content).decode()
            self._write({"part": item.part, "file": item.name, "content": content})
        else:
            self._write({"part": item.part, "table": item.table, "rows": item.rows})

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


@contextlib.contextmanager
def writing(file: BinaryIO, passphrase: str) -> Iterator[ArchiveWriter]:
    """Whole when the block has succeeded."""
    sealed = SealedWriter(file, passphrase)
    with gzip.GzipFile(fileobj=sealed, mode="wb", mtime=0) as lines:
        yield ArchiveWriter(lines)
    sealed.finish()


class ArchiveReader:
    """Its manifest, and then its items, once. Everything raises `BackupError` for a file that is not whole."""

    def __init__(self, lines: BinaryIO | gzip.GzipFile) -> None:
        self._lines = lines
        self.manifest = Manifest.from_json(json.loads(lines.readline()))

    def __iter__(self) -> Iterator[File | Rows]:
        for text in self._lines:
            line = json.loads(text)
            if "file" in line:
                yield File(line["part"], line["file"], base64.b64decode(line["content"]))
            else:
                yield Rows(line["part"], line["table"], line["rows"])


@contextlib.contextmanager
def opened(path: Path, passphrase: str) -> Iterator[ArchiveReader]:
    """Raises `BackupError` for a file that cannot be read."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from None
    with file, gzip.GzipFile(fileobj=SealedReader(file, passphrase), mode="rb") as lines:
        yield ArchiveReader(lines)


def verify(path: Path, passphrase: str) -> tuple[Manifest, dict[str, dict[str, bytes]]]:
    """Reads it to its end: what it says of itself, and each part's files. Raises `BackupError` when it is not whole."""
    with opened(path, passphrase) as archive:
        manifest = archive.manifest
        files: dict[str, dict[str, bytes]] = {name: {} for name in manifest.parts}
        tables = {name: dict.fromkeys(part.tables, 0) for name, part in manifest.parts.items()}
        for item in archive:
            if isinstance(item, File):
                files[item.part][item.name] = item.content
            else:
                tables[item.part][item.table] += len(item.rows)
    for name, part in manifest.parts.items():
        if (tables[name], len(files[name])) != (part.tables, part.files):
            raise BackupError(f"the backup does not hold what it says of its part {name}")
    return manifest, files
