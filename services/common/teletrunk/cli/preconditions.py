"""What must be so on this machine before the services start: ports, databases, keys, the way to Telegram."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from teletrunk import running
from teletrunk.channel import require_loopback
from teletrunk.sources import ConfigurationError, variable_of

_PATIENCE_S = 3.0
_TELEGRAM: Final = "149.154.167.50:443"  # data centre 2, which every client knows
# Where each service listens: the setting, and the kinds of socket.
_LISTENS: Final = {
    "manager": {"manager_address": "tcp", "api_address": "tcp", "manager_metrics_address": "tcp"},
    "session-store": {"storage_address": "tcp", "storage_metrics_address": "tcp"},
    "worker": {"sip_address": "udp tcp", "worker_metrics_address": "tcp"},
}

Condition = tuple[bool, str]


def conditions(loaded: dict[str, Any]) -> Iterator[Condition]:
    """Each with whether it is met; `loaded` are the services' settings that could be read."""
    yield _machine()
    for name, settings in loaded.items():
        yield from _ports(name, settings)
    for name in ("manager", "worker"):
        if settings := loaded.get(name):
            yield _fits_together(f"the settings of the {name.title()} fit together", settings)
    if worker := loaded.get("worker"):
        yield True, _told(worker)
    if manager := loaded.get("manager"):
        yield _database("the Manager's database", manager.url())
        yield _file("the key that seals trunks' passwords", manager.key_path)
    if storage := loaded.get("session-store"):
        yield _reached_safely(storage, tls=manager is not None and manager.tls)
        yield _database("the vault", storage.database_url())
        yield _vault_key(storage)
        yield _telegram(storage)


def _fits_together(what: str, settings: Any) -> Condition:
    try:
        settings.check()
    except ConfigurationError as error:
        return False, str(error)
    return True, what


def _told(worker: Any) -> str:
    networks = ", ".join(map(str, worker.networks_beside))
    beside = f"; those in {networks} are told this machine's own address" if networks else ""
    return f"PBXs are told {worker.reachable_addresses()[0]}, and {worker.reachable_media_address()} for sound{beside}"


def _reached_safely(storage: Any, *, tls: bool) -> Condition:
    """Without certificates, its own or those that it is about to get, it speaks plain text, on this machine only."""
    kept = (storage.data / "identity" / "storage" / "service.pem").exists()
    if not (tls or kept or storage.invitation or storage.join_token_file):
        try:
            require_loopback(storage.storage_address)
        except ConfigurationError as error:
            return False, str(error)
    return True, "the Session Storage is reached as it may be"


def _machine() -> Condition:
    try:
        running.check_host()
    except ConfigurationError as error:
        return False, str(error)
    return True, "this machine can run the services"


def _ports(name: str, settings: Any) -> Iterator[Condition]:
    runs = _runs(settings.data)
    for field, kinds in _LISTENS[name].items():
        address = getattr(settings, field)
        for kind in kinds.split() if address else ():
            trouble = _taken(address, kind)
            if trouble and runs:
                yield True, f"{variable_of(field)}: {kind} {address} is held; Teletrunk runs on {settings.data}"
            else:
                yield not trouble, f"{variable_of(field)}: {kind} {address} {trouble or 'is free'}"


def _runs(data: Path) -> bool:
    """Whether `teletrunk up` or a service holds this data directory."""
    for name in ("stack", "worker", "session-store"):
        try:
            with (data / f"{name}.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def _taken(address: str, kind: str) -> str:
    """Why nobody can listen there; empty when one can."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as trial:
        if kind == "tcp":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services do
        try:
            trial.bind((host, int(port)))
            if kind == "tcp":
                trial.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use by another program: stop it, or set another address"
            return f"cannot be listened at: {error.strerror or error}"
    return ""


def _database(what: str, url: str) -> Condition:
    from sqlalchemy.exc import SQLAlchemyError

    from teletrunk.database import line_of, make_engine, sqlite_file

    try:
        file = sqlite_file(url)
        if file is not None and not file.exists():
            return _writable(f"{what} ({file}) is made at the first start", file.parent)
        asyncio.run(_asked(make_engine(url)))
    except (SQLAlchemyError, OSError, ImportError, TimeoutError, ConfigurationError) as error:
        return False, f"{what}: {line_of(error)}"
    return True, f"{what} answers"


async def _asked(engine: Any) -> None:
    import sqlalchemy as sa

    try:
        async with asyncio.timeout(_PATIENCE_S), engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
    finally:
        await engine.dispose()


def _writable(text: str, directory: Path) -> Condition:
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())
    writable = os.access(there, os.W_OK)
    return writable, text if writable else f"{text}, but {there} is not ours to write to"


def _file(what: str, path: Path) -> Condition:
    if not path.exists():
        return True, f"{what} ({path}) is made at the first start"
    try:
        path.read_bytes()
    except OSError as error:
        return False, f"{what} ({path}): {error.strerror}"
    return True, f"{what} is there"


def _vault_key(storage: Any) -> Condition:
    kept = storage.data / "secrets" / "vault.key"
    if not storage.gives_vault_key and not kept.exists():
        return True, f"the vault's key ({kept}) is made at the first start"
    try:
        storage.key()
        storage.other_keys()
    except (ConfigurationError, OSError) as error:
        return False, str(error)
    return True, "the vault's key is one"


def _telegram(storage: Any) -> Condition:
    try:
        storage.check()
    except ConfigurationError as error:
        return False, f"{error} (teletrunk up --sandbox needs none)"
    if storage.telegram_proxy is not None:
        return True, "the way to Telegram is a proxy's, which is not tried here"
    address = (storage.telegram_server or _TELEGRAM).partition(",")[0]
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
    except OSError as error:
        return False, f"Telegram ({address}) cannot be reached by TCP: {error}"
    return True, f"Telegram ({address}) can be reached"
