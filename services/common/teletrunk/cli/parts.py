"""Parts that not every installation has: the services and the sandbox. The kernel imports none of them by itself."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from teletrunk.sources import ConfigurationError

SERVICES: Final = {
    "manager": "teletrunk_manager",
    "session-store": "teletrunk_session_store",
    "worker": "teletrunk_worker",
}


def part(package: str, module: str) -> ModuleType:
    """Raises `ConfigurationError`."""
    if find_spec(package) is None:
        extra = package.removeprefix("teletrunk_").replace("_", "-")
        raise ConfigurationError(
            f"{package} is not part of this installation: pip install 'teletrunk[{extra}]', or its image"
        )
    return importlib.import_module(f"{package}.{module}")


def serve(name: str) -> None:
    """Runs a service to its end."""
    part(SERVICES[name], "__main__").main()
