"""The Manager's settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from teletrunk.config import ConfigurationError, ServiceSettings, checked_address
from teletrunk.rpc import require_loopback

from teletrunk_manager.join_file import read
from teletrunk_manager.service_accounts import Cluster, ServiceAccounts, kinds_of

_SHORTEST_TOKEN = 32


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
    manager_metrics_address: str | None = Field(
        None, description="host:port for /metrics, /live and /ready; off if not given."
    )
    api_address: str | None = Field(None, description="host:port of the REST API; off if not given.")
    api_certificate: Path | None = Field(None, description="PEM file of the REST API's certificate chain.")
    api_key: Path | None = Field(None, description="PEM file of its private key.")
    records_days: float = Field(0.0, ge=0, description="Call records older than this are deleted; 0: kept for ever.")
    changes_days: float = Field(
        365.0, ge=0, description="What people have changed longer ago is deleted from the list; 0: kept for ever."
    )
    administrator_trunks: int = Field(
        500, ge=1, description="Trunks of one administrator; owners' own may be twenty times as many."
    )
    administrator_networks: int = Field(
        2_000, ge=1, description="Trusted networks of all of one administrator's trunks; owners' own twenty times."
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="How long it serves on, unready, after SIGTERM: until a load balancer has noticed."
    )
    webhooks_to_private: bool = Field(
        False, description="Whether webhooks may go to this machine and to private networks."
    )
    api_token_file: Path | None = Field(
        None,
        description="A file with an owner's token of the REST API, which exists from the first start on.",
    )
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
    join_file: Path | None = Field(
        None, description="JSON list of join tokens: kind, secret and count; read again when it changes."
    )
    join_service_accounts: str = Field(
        "", description="worker=NAMESPACE/NAME,storage=NAMESPACE/NAME: accounts of a Kubernetes cluster that may join."
    )
    kubernetes_api: str = Field("https://kubernetes.default.svc", description="The cluster's API server.")
    kubernetes_credentials: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Directory of the Manager's own token and ca.crt, with which it asks the API server.",
    )
    retire_hours: float = Field(
        24.0, ge=0, description="Who came by a join token and is not seen for so long is no member any more; 0: never."
    )
    certificate_days: float = Field(90.0, gt=0, description="Life of the services' certificates.")

    @field_validator("manager_metrics_address", "enrolment_address", "public_manager_address", "api_address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    def check(self) -> None:
        """Raises `ConfigurationError` for what one setting alone cannot show."""
        if not self.tls:
            require_loopback(self.manager_address)
        self.api_tls()
        self.api_token()
        if self.join_file:
            read(self.join_file)

    def api_token(self) -> str | None:
        """Raises `ConfigurationError`."""
        if self.api_token_file is None:
            return None
        try:
            token = self.api_token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"TELETRUNK_API_TOKEN_FILE: {self.api_token_file}: {error}") from None
        if len(token) < _SHORTEST_TOKEN:
            raise ConfigurationError(
                f"TELETRUNK_API_TOKEN_FILE: {self.api_token_file}: {_SHORTEST_TOKEN} random characters or more"
            )
        return token

    @field_validator("join_service_accounts")
    @classmethod
    def _accounts(cls, value: str) -> str:
        kinds_of(value)
        return value

    @field_validator("kubernetes_api")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise ValueError("must be https://...: the accounts' tokens go there")
        return value

    @property
    def service_accounts(self) -> ServiceAccounts:
        """Who may join by an account of the cluster, and who is asked about it."""
        return ServiceAccounts(
            kinds_of(self.join_service_accounts), Cluster(self.kubernetes_api, self.kubernetes_credentials)
        )

    def api_tls(self) -> dict[str, str]:
        """What the HTTP server is given. Raises `ConfigurationError`: tokens are not sent in plain text afar."""
        if self.api_address is None:
            return {}
        if self.api_certificate and self.api_key:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.api_certificate, self.api_key)
            except OSError as error:  # ssl.SSLError is one, too
                files = f"{self.api_certificate}, {self.api_key}"
                raise ConfigurationError(f"TELETRUNK_API_CERTIFICATE: {files}: {error.strerror or error}") from None
            return {"ssl_certfile": str(self.api_certificate), "ssl_keyfile": str(self.api_key)}
        require_loopback(self.api_address, "TELETRUNK_API_CERTIFICATE and TELETRUNK_API_KEY")
        return {}

    @property
    def authority_directory(self) -> Path:
        return self.authority or self.data / "authority"

    @property
    def key_path(self) -> Path:
        return self.key_file or self.data / "secrets" / "manager.key"

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
