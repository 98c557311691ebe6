"""Settings: from the environment (prefix TELETRUNK_) or from files of the same names, with defaults for one machine.

Each service has its own model; what they share is here. A wrong value ends the start with one readable line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from teletrunk.sources import (
    DEFAULT_MANAGER,
    ConfigurationError,
    checked_address,
    cluster_token,
    config_file,
    default_data,
    kept_secret,
    manager_here,
    manager_socket,
    secrets_directory,
    variable_of,
)
from teletrunk.wrong_value import in_words

__all__ = (
    "CommandSettings",
    "ConfigurationError",
    "ServiceSettings",
    "checked_address",
    "kept_secret",
    "load",
    "wrong_settings",
)

_SAMPLES = ("changeme", "change-me", "example", "secret", "password", "xxx")


class ServiceSettings(BaseSettings):
    """What every service is told."""

    model_config = SettingsConfigDict(env_prefix="TELETRUNK_", extra="ignore")

    data: Path = Field(default_factory=default_data, description="Directory for everything that is kept.")
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
        DEFAULT_MANAGER, description="host:port of the Manager's gRPC; of several Managers, with commas between."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        known = {name: value for name, value in config_file().items() if name in settings_cls.model_fields}
        return init_settings, env_settings, file_secret_settings, InitSettingsSource(settings_cls, known)

    @property
    def socket(self) -> Path:
        """Where the Manager of this data directory listens for commands when it speaks TLS to others."""
        return manager_socket(self.data)

    @property
    def manager_here(self) -> str:
        """How a command on the Manager's own machine reaches it."""
        return manager_here(self.data, self.manager_address)

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
        return self.cluster_token.get_secret_value() if self.cluster_token else cluster_token(self.data)

    def given_token(self) -> dict[str, bytes]:
        """The token under its name in a backup, when it is not in its file."""
        return {} if self.cluster_token is None else {"secrets/cluster.token": self.token().encode()}


class CommandSettings(ServiceSettings):
    """What only the command is told; it reads them by itself (`teletrunk.cli.place`)."""

    api_url: str | None = Field(None, description="https://host:port of the Manager's REST API, for the command.")
    api_token: SecretStr | None = Field(None, description="What `teletrunk token add` printed.")


Settings = TypeVar("Settings", bound=BaseSettings)


def load(model: type[Settings]) -> Settings:
    """Reads the environment, and what it lacks from files in TELETRUNK_SECRETS_DIR that are named as the variables are,
    and what is in neither from the TOML file TELETRUNK_CONFIG.

    Raises `ConfigurationError` with one line for the first wrong value.
    """
    folder = secrets_directory()
    try:
        return model(_secrets_dir=folder)
    except ValidationError as error:
        raise ConfigurationError(wrong_settings(model, error)[0]) from None
    except SettingsError as error:  # a folder or a file that is not ours to read, or is no text
        raise ConfigurationError(f"TELETRUNK_SECRETS_DIR: {folder}: {error}: {error.__cause__}") from None


def wrong_settings(model: type[BaseSettings], error: ValidationError) -> list[str]:
    """One line for each wrong value; a secret is not shown."""
    return [_line(model, each) for each in error.errors()]


def _line(model: type[BaseSettings], error: Any) -> str:
    field = str(error["loc"][0])
    hidden = "SecretStr" in str(model.model_fields[field].annotation)
    return f"{variable_of(field)}: {in_words(error, hidden=hidden)}"
