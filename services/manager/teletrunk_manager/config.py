"""The Manager's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from teletrunk.config import ServiceSettings, checked_address


class ManagerSettings(ServiceSettings):
    """Prefix TELETRUNK_. `manager_address` is where the Manager listens."""

    database_url: SecretStr | None = Field(None, description="SQLAlchemy URL; DATA/manager.db when not given.")

    upgrade_database: bool = Field(
        True, description="Whether the Manager changes an older schema at start; off: teletrunk db upgrade does."
    )
    redis_url: SecretStr | None = Field(
        None, description="redis://... that several Managers share; one Manager alone needs none."
    )
    key_file: Path | None = Field(
        None, description="The key that seals trunks' passwords, the same for all Managers; DATA/secrets/manager.key."
    )
    metrics_address: str | None = Field(None, description="host:port for Prometheus and for /live and /ready.")

    tls: bool = Field(
        False, description="Mutual TLS: certificates from this Manager's authority, for several machines."
    )
    enrolment_address: str | None = Field(
        None, description="host:port where invited services enrol; the Manager's port + 1 when not given."
    )
    public_manager_address: str | None = Field(None, description="host:port by which others reach the Manager.")
    authority: Path | None = Field(
        None, description="Directory of authority.pem and authority.key; made under DATA/authority when not given."
    )
    certificate_days: float = Field(90.0, gt=0, description="Life of the services' certificates.")

    @field_validator("enrolment_address", "public_manager_address", "metrics_address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @property
    def enrolment(self) -> str:
        """Where the enrolment server listens."""
        host, _, port = self.manager_address.rpartition(":")
        return self.enrolment_address or f"{host}:{int(port) + 1 if int(port) else 0}"

    def url(self) -> str:
        """The database's URL; it may hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data / 'manager.db'}"
