"""The Session Storage's settings."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from teletrunk.backup.witness import STORAGE, Witness, machine_id, reached
from teletrunk.config import ConfigurationError, ServiceSettings, checked_address, kept_secret

_SAMPLE_API_HASH = "0123456789abcdef0123456789abcdef"  # the one in Telegram's own documentation
KEY_BYTES = 32

_COMMAND_S = 10.0


class StorageSettings(ServiceSettings):
    """Prefix TELETRUNK_."""

    storage_metrics_address: str | None = Field(
        None, description="host:port for /metrics, /live and /ready; off if not given."
    )
    storage_address: str = Field("127.0.0.1:5052", description="host:port of this service's gRPC.")
    public_storage_address: str | None = Field(None, description="host:port by which the others reach it.")
    vault_url: str | None = Field(None, description="SQLAlchemy URL; DATA/vault.db when not given.")
    vault_key: SecretStr | None = Field(None, description="32 bytes in base64; DATA/secrets/vault.key when not given.")
    vault_key_file: Path | None = Field(None, description="A file with that key instead.")
    vault_key_command: str | None = Field(
        None, description="A command, without a shell, that prints that key: for a KMS."
    )
    vault_other_keys: SecretStr = Field(
        SecretStr(""), description="Keys that open too, with commas between: the next one, then the last one."
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="How long sessions with calls are kept after SIGTERM; the others go to another Storage."
    )
    telegram_api_id: int = Field(0, description="From my.telegram.org.")
    telegram_api_hash: SecretStr = Field(SecretStr(""), description="From my.telegram.org.")
    telegram_server: str | None = Field(
        None, description="host:port of a data centre that is not Telegram's own; several of one are tried in turn."
    )
    telegram_rsa_key_file: Path | None = Field(None, description="Its public RSA key, or a certificate with it, PEM.")
    telegram_proxy: SecretStr | None = Field(
        None, description="The way to Telegram: socks5://USER:PASSWORD@HOST:PORT, or the link of an MTProto proxy."
    )
    telegram_library_versions: str = Field(
        "13.0.0,12.0.0,9.0.0,8.0.0", description="Versions of the call library offered, the best first."
    )

    @field_validator("storage_metrics_address", "storage_address", "public_storage_address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @field_validator("telegram_server")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        return None if value is None else ",".join(checked_address(address.strip()) for address in value.split(","))

    def check(self) -> None:
        """Raises `ConfigurationError` for what one field alone cannot show."""
        if self.telegram_server and self.telegram_rsa_key_file is None:
            raise ConfigurationError("TELETRUNK_TELEGRAM_RSA_KEY_FILE: set it together with TELETRUNK_TELEGRAM_SERVER")
        if self.telegram_rsa_key_file is not None and not self.telegram_rsa_key_file.exists():
            raise ConfigurationError(f"TELETRUNK_TELEGRAM_RSA_KEY_FILE: {self.telegram_rsa_key_file} does not exist")
        api_hash = self.telegram_api_hash.get_secret_value()
        if self.telegram_server is None and (self.telegram_api_id <= 0 or len(api_hash) != len(_SAMPLE_API_HASH)):
            raise ConfigurationError(
                "TELETRUNK_TELEGRAM_API_ID and TELETRUNK_TELEGRAM_API_HASH: get them at https://my.telegram.org"
            )
        if api_hash == _SAMPLE_API_HASH and self.telegram_server is None:
            raise ConfigurationError("TELETRUNK_TELEGRAM_API_HASH: this is a sample, get your own at my.telegram.org")

    def witness(self, storage_id: str, address: str) -> Witness:
        """How a copy of the vault finds this Storage, which is reached at `address`."""
        return Witness(STORAGE, reached(address), storage_id, machine_id(), str(self.data.resolve()))

    def database_url(self) -> str:
        return self.vault_url or f"sqlite+aiosqlite:///{self.data / 'vault.db'}"

    @property
    def gives_vault_key(self) -> bool:
        """Whether it comes from elsewhere than DATA."""
        return any(given is not None for given in (self.vault_key, self.vault_key_file, self.vault_key_command))

    def key(self) -> bytes:
        """The key that seals the vault. Raises `ConfigurationError`."""
        if sum(given is not None for given in (self.vault_key, self.vault_key_file, self.vault_key_command)) > 1:
            raise ConfigurationError("give one of TELETRUNK_VAULT_KEY, _VAULT_KEY_FILE and _VAULT_KEY_COMMAND")
        if self.vault_key is not None:
            return _key(self.vault_key.get_secret_value(), "TELETRUNK_VAULT_KEY")
        if self.vault_key_file is not None:
            return _key(_read(self.vault_key_file), "TELETRUNK_VAULT_KEY_FILE")
        if self.vault_key_command is not None:
            return _key(_printed(self.vault_key_command), "TELETRUNK_VAULT_KEY_COMMAND")
        made = kept_secret(self.data, "vault.key", lambda: base64.b64encode(os.urandom(KEY_BYTES)))
        return _key(made.decode(), "DATA/secrets/vault.key")

    def other_keys(self) -> tuple[bytes, ...]:
        """Raises `ConfigurationError`."""
        given = self.vault_other_keys.get_secret_value()
        return tuple(_key(text, "TELETRUNK_VAULT_OTHER_KEYS") for text in given.split(",") if text.strip())


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{where}: must be {KEY_BYTES} bytes in base64 (head -c 32 /dev/urandom | base64)")
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"TELETRUNK_VAULT_KEY_FILE: {path} cannot be read: {error}") from None


def _printed(command: str) -> str:
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=_COMMAND_S, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        what = f"exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise ConfigurationError(f"TELETRUNK_VAULT_KEY_COMMAND: {what}") from None
    return done.stdout
