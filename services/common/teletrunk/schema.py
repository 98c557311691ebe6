"""A database's schema, kept by Alembic: what it is, what it should be, and how it gets there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from teletrunk.config import ConfigurationError


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
        current = self._known(connection)
        if revision == "head" or current is None or int(revision) > int(current):
            command.upgrade(self._config(connection), revision)
        else:
            command.downgrade(self._config(connection), revision)

    def check(self, connection: Connection) -> None:
        """Raises `ConfigurationError` when the schema is not this version's."""
        current = self._known(connection)
        if current != self.head:
            raise ConfigurationError(
                f"{self.what} has schema {current}, and {self.head} is needed: run teletrunk db upgrade"
            )

    def revision(self, connection: Connection) -> str | None:
        """None for a database without the schema."""
        return MigrationContext.configure(connection, opts={"version_table": self.version_table}).get_current_revision()

    @property
    def head(self) -> str:
        return self._directory().get_current_head() or ""

    def knows(self, revision: str) -> bool:
        return revision in {script.revision for script in self._directory().walk_revisions()}

    def _known(self, connection: Connection) -> str | None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.lock})
        current = self.revision(connection)
        if current is not None and not self.knows(current):
            raise ConfigurationError(f"{self.what} is of a newer Teletrunk (schema {current}): install that version")
        return current

    def _directory(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config(None))

    def _config(self, connection: Connection | None) -> Config:
        config = Config()
        config.set_main_option("script_location", str(self.scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        config.attributes["version_table"] = self.version_table
        return config
