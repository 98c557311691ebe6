"""Where settings come from: the environment, files named as the variables are, and one TOML file.

The first that names a setting counts, in this order. Nothing here knows what a setting means, and nothing heavy is
imported: the command reads what it needs from here, the services through `teletrunk.config`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "TELETRUNK_"
CONFIG: Final = "TELETRUNK_CONFIG"
SECRETS: Final = "TELETRUNK_SECRETS_DIR"
_SECRETS = "/run/secrets"  # where Docker, Podman and Compose put them, and a Kubernetes Secret can be mounted
DEFAULT_MANAGER: Final = "127.0.0.1:5050"
_LONGEST_SOCKET = 107  # bytes: sun_path of Linux, without the end


class ConfigurationError(Exception):
    """The program cannot start like this; the text is one line that says what to do."""


@dataclass(frozen=True)
class Given:
    """A setting's value as it was written, and where."""

    value: Any
    origin: str


def secrets_directory() -> Path | None:
    """Raises `ConfigurationError` when one is named that is not there."""
    named = os.environ.get(SECRETS)
    folder = Path(named or _SECRETS)
    if folder.is_dir():
        return folder
    if named:
        raise ConfigurationError(f"{SECRETS}: {folder} is not a directory")
    return None


def config_file() -> Mapping[str, Any]:
    """The TOML file's settings by their fields' names. Raises `ConfigurationError`."""
    named = os.environ.get(CONFIG)
    if not named:
        return {}
    import tomllib

    try:
        written = tomllib.loads(Path(named).read_text())
    except OSError as error:
        raise ConfigurationError(f"{CONFIG}: {named} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{CONFIG}: {named} is not TOML: {error}") from None
    return {field_of(name): _single(named, name, value) for name, value in written.items()}


def field_of(variable: str) -> str:
    """`TELETRUNK_LOG_LEVEL`, and `log_level` too, is the field log_level."""
    return variable.upper().removeprefix(PREFIX).lower()


def variable_of(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _single(file: str, name: str, value: Any) -> str | bool | int | float:
    """A setting is one value; a list is written with commas, as in the environment."""
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(str(item) for item in value)
    if not isinstance(value, str | bool | int | float):
        raise ConfigurationError(f"{CONFIG}: {file}: {name} must be a text, a number, true, false or a list of texts")
    return value


def given() -> dict[str, Given]:
    """All that is set anywhere, by fields' names. Raises `ConfigurationError`."""
    found: dict[str, Given] = {}
    for name, value in config_file().items():
        found[name] = Given(value, os.environ[CONFIG])
    folder = secrets_directory()
    for path in sorted(folder.iterdir()) if folder else ():
        if path.name.upper().startswith(PREFIX) and path.is_file():
            found[field_of(path.name)] = Given(_read(path), str(path))
    for name, value in os.environ.items():
        if name.upper().startswith(PREFIX):
            found[field_of(name)] = Given(value, "environment")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{SECRETS}: {path} cannot be read: {error}") from None


# What the command and the services must agree on.


def default_data() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "teletrunk"


def manager_socket(data: Path) -> Path:
    """Where the Manager of this data directory listens for commands when it speaks TLS to others."""
    return data / "manager.sock"


def free_socket(path: Path) -> Path:
    """For a UNIX socket that is about to be opened there. Raises `ConfigurationError` where the kernel takes none."""
    if (length := len(os.fsencode(path))) > _LONGEST_SOCKET:
        said = f"{path} is {length} bytes long, a socket's path {_LONGEST_SOCKET} at most: choose a shorter directory"
        raise ConfigurationError(f"TELETRUNK_DATA: {said}")
    path.unlink(missing_ok=True)
    return path


def manager_here(data: Path, manager_address: str) -> str:
    """How a command on the Manager's own machine reaches it."""
    socket = manager_socket(data)
    return f"unix:{socket}" if socket.exists() else manager_address.partition(",")[0]


def cluster_token(data: Path) -> str:
    """The token of this data directory's services, made and kept on first use."""
    return kept_secret(data, "cluster.token", _random_text).decode()


def _random_text() -> bytes:
    import secrets

    return secrets.token_urlsafe(32).encode()


def checked_address(value: str) -> str:
    """`host:port` as it is; raises ValueError otherwise."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise ValueError("must be host:port")
    return value


def kept_secret(data: Path, name: str, make: Callable[[], bytes]) -> bytes:
    """The content of DATA/secrets/NAME, made by `make()` when there is none; readable by its owner only.

    Several services may start at once: the first to link its file in wins, the others read that one.
    """
    path = data / "secrets" / name
    if not path.exists():
        import secrets

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()
