"""A database's schema, kept by Alembic: what it is, what it should be, and how it gets there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, column, inspect, select, table, text

from teletrunk.config import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPT = re.compile(r"v(\d+)_\w+\.py")


@dataclass(frozen=True)
class Schema:
    """`what` is how people call the database, `lock` PostgreSQL's advisory lock of those that change it, and
    `version_table` where it says which schema it has: two schemas may live in one database."""

    what: str
    scripts: Path
    lock: int
    version_table: str = "alembic_version"

    def upgrade(self, connection: Connection, revision: str = "head") -> None:
        """To this revision, up or down. Raises `ConfigurationError` for a schema that we do not know."""
        current, wanted = self._known(connection), self.head if revision == "head" else revision
        if current != wanted:
            _move(current, wanted)(self._config(connection), wanted)

    def check(self, connection: Connection) -> None:
        """Raises `ConfigurationError` when the schema is not this version's."""
        current = self._known(connection)
        if current != self.head:
            raise ConfigurationError(
                f"{self.what} has schema {current}, and {self.head} is needed: run teletrunk db upgrade"
            )

    def revision(self, connection: Connection) -> str | None:
        """None for a database without the schema."""
        if not inspect(connection).has_table(self.version_table):
            return None
        found: str | None = connection.scalar(select(column("version_num")).select_from(table(self.version_table)))
        return found

    @property
    def head(self) -> str:
        return self._revisions[-1]

    def knows(self, revision: str) -> bool:
        return revision in self._revisions

    @cached_property
    def _revisions(self) -> list[str]:
        """By the scripts' names. Alembic, which is 10 MB, is loaded when there is something to change only."""
        names = map(_SCRIPT.fullmatch, (path.name for path in (self.scripts / "versions").iterdir()))
        return sorted(name[1] for name in names if name)

    def _known(self, connection: Connection) -> str | None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.lock})
        current = self.revision(connection)
        if current is not None and not self.knows(current):
            raise ConfigurationError(f"{self.what} is of a newer Teletrunk (schema {current}): install that version")
        return current

    def _config(self, connection: Connection) -> Config:
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        config.attributes["version_table"] = self.version_table
        return config


def _move(current: str | None, wanted: str) -> Callable[[Config, str], Any]:
    from alembic import command

    return command.upgrade if current is None or int(wanted) > int(current) else command.downgrade
