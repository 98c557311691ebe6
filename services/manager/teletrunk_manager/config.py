"""The Manager's settings."""

from __future__ import annotations

from pydantic import Field, SecretStr
from teletrunk.config import ServiceSettings


class ManagerSettings(ServiceSettings):
    """Prefix TELETRUNK_. `manager_address` is where the Manager listens."""

    database_url: SecretStr | None = Field(None, description="SQLAlchemy URL; DATA/manager.db when not given.")

    def url(self) -> str:
        """The database's URL; it may hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data / 'manager.db'}"
