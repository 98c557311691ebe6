"""Settings: from the environment (prefix TELETRUNK_) or from files of the same names, with defaults for one machine.

Each service has its own model; what they share is here. A wrong value ends the start with one readable line.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_SECRETS = "/run/secrets"  # where Docker, Podman and Compose put them, and a Kubernetes Secret can be mounted
_SAMPLES = ("changeme", "change-me", "example", "secret", "password", "xxx")


class ConfigurationError(Exception):
    """The program cannot start like this; the text is one line that says what to do."""


def _default_data() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "teletrunk"


class ServiceSettings(BaseSettings):
    """What every service is told."""

    model_config = SettingsConfigDict(env_prefix="TELETRUNK_", extra="ignore")

    data: Path = Field(default_factory=_default_data, description="Directory for everything that is kept.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json, or console for people.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_file: Path | None = Field(None, description="Lines go there, not to standard error; it rotates.")
    cluster_token: SecretStr | None = Field(
        None, description="Shared by the services; made on first start under DATA/secrets when not given."
    )
    invitation: SecretStr | None = Field(
        None, description="What `teletrunk worker invite` or `teletrunk worker join-token` printed."
    )
    join_token_file: Path | None = Field(
        None, description="A file with a join token's secret, or with the token of the service's account in a cluster."
    )
    authority_file: Path | None = Field(
        None, description="PEM file of the Manager's authority; together with the join token's file."
    )
    join_address: str | None = Field(
        None,
        description="host:port where a service with a join token's file enrols; the Manager's port + 1 if not given.",
    )
    manager_address: str = Field(
        "127.0.0.1:5050", description="host:port of the Manager's gRPC; of several Managers, with commas between."
    )

    @property
    def socket(self) -> Path:
        """Where the Manager of this data directory listens for commands when it speaks TLS to others."""
        return self.data / "manager.sock"

    @property
    def manager_here(self) -> str:
        """How a command on the Manager's own machine reaches it."""
        return f"unix:{self.socket}" if self.socket.exists() else self.manager_address.partition(",")[0]

    @field_validator("cluster_token")
    @classmethod
    def _no_sample(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (len(value.get_secret_value()) < 16 or value.get_secret_value().lower() in _SAMPLES):
            raise ValueError("must be a random text of 16 characters or more, not a sample")
        return value

    @field_validator("log_file")
    @classmethod
    def _in_a_directory(cls, value: Path | None) -> Path | None:
        if value is not None and (value.is_dir() or not value.parent.is_dir()):
            raise ValueError("must be a file in a directory that exists")
        return value

    @field_validator("manager_address", "join_address")
    @classmethod
    def _hosts_and_ports(cls, value: str | None) -> str | None:
        return value and ",".join(checked_address(part.strip()) for part in value.split(","))

    def token(self) -> str:
        """The cluster token, made and kept on first use."""
        if self.cluster_token is not None:
            return self.cluster_token.get_secret_value()
        return kept_secret(self.data, "cluster.token", lambda: secrets.token_urlsafe(32).encode()).decode()

    def given_token(self) -> dict[str, bytes]:
        """The token under its name in a backup, when it is not in its file."""
        return {} if self.cluster_token is None else {"secrets/cluster.token": self.token().encode()}


def checked_address(value: str) -> str:
    """`host:port` as it is; raises ValueError otherwise."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise ValueError("must be host:port")
    return value


def kept_secret(data: Path, name: str, make: object) -> bytes:
    """The content of DATA/secrets/NAME, made by `make()` when there is none; readable by its owner only.

    Several services may start at once: the first to link its file in wins, the others read that one.
    """
    path = data / "secrets" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())  # type: ignore[operator]
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()


Settings = TypeVar("Settings", bound=BaseSettings)


def load(model: type[Settings]) -> Settings:
    """Reads the environment, and what it lacks from files in TELETRUNK_SECRETS_DIR that are named as the variables are.

    Raises `ConfigurationError` with one line for the first wrong value.
    """
    given = os.environ.get("TELETRUNK_SECRETS_DIR")
    folder = Path(given or _SECRETS)
    if given and not folder.is_dir():
        raise ConfigurationError(f"TELETRUNK_SECRETS_DIR: {folder} is not a directory")
    try:
        return model(_secrets_dir=folder if folder.is_dir() else None)
    except ValidationError as error:
        first = error.errors()[0]
        name = "TELETRUNK_" + "_".join(str(part) for part in first["loc"]).upper()
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(f"{name}: {reason}") from None
    except SettingsError as error:  # a folder or a file that is not ours to read, or is no text
        raise ConfigurationError(f"TELETRUNK_SECRETS_DIR: {folder}: {error}: {error.__cause__}") from None
