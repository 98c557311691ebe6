"""What one service keeps, as a backup sees it. Each service says it of itself (the module `backup` of its package)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from teletrunk.backup.sealed_file import BackupError
from teletrunk.backup.witness import Witness
from teletrunk.database import sqlite_file
from teletrunk.schema import Schema

Row = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A database. `tables` are those that are kept; `changed` is shown each row on its way into the backup."""

    url: str
    schema: Schema
    tables: list[sa.Table]
    changed: Callable[[sa.Table, Row], Row] = lambda table, row: row


class Part:
    """`paths` are its files by their names in a backup, `given` those among them whose content the settings hold
    themselves, and `needed` those without which the rest is worth nothing."""

    def __init__(
        self,
        name: str,
        paths: Mapping[str, Path],
        given: Mapping[str, bytes],
        needed: tuple[str, ...],
        store: Store | None = None,
        note: str = "",
    ) -> None:
        self.name = name
        self.store = store
        self.note = note  # what a person must know of it
        self._paths = paths
        self._given = given
        self._needed = needed

    def missing(self) -> str:
        """What is not here; empty when it can be backed up."""
        file = None if self.store is None else sqlite_file(self.store.url)
        if file is not None and not file.exists():
            return str(file)
        absent = (self._paths[name] for name in self._needed if name not in self._given)
        return next((str(path) for path in absent if not path.exists()), "")

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name and content of each."""
        for name, path in self._paths.items():
            if name in self._given:
                yield name, self._given[name]
            elif path.exists():
                yield name, path.read_bytes()

    def place(self, name: str) -> Path | None:
        """Where the file of that name belongs; None when the settings hold it themselves. Raises `BackupError`."""
        if name in self._given:
            return None
        if name not in self._paths:
            raise BackupError(f"the backup holds {name}, which has no place in this version")
        return self._paths[name]

    def refuse(self, files: Mapping[str, bytes], note: str) -> None:
        """Raises `BackupError` when these files, or what the backup notes of itself, do not go with the settings."""

    async def witnesses(self, connection: AsyncConnection | None) -> list[Witness]:
        """Who uses what is backed up."""
        return []

    async def restored(self, connection: AsyncConnection, files: Mapping[str, bytes], old: list[Witness]) -> None:
        """Called when the rows are in, within the same transaction."""
