"""Where the command finds the Manager: read without the services' models, which take long to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from teletrunk import sources
from teletrunk.sources import ConfigurationError, checked_address


@dataclass(frozen=True)
class Place:
    data: Path
    manager_address: str
    cluster_token: str = field(default="", repr=False)
    api_url: str = ""  # host:port of a Manager far away is not ours to dial: its REST API is
    api_token: str = field(default="", repr=False)

    @classmethod
    def read(cls) -> Place:
        """Raises `ConfigurationError`."""
        given = {name: str(setting.value) for name, setting in sources.given().items()}
        address = given.get("manager_address") or sources.DEFAULT_MANAGER
        try:
            address = ",".join(checked_address(part.strip()) for part in address.split(","))
        except ValueError as error:
            raise ConfigurationError(f"TELETRUNK_MANAGER_ADDRESS: {error}, not {address!r}") from None
        return cls(
            Path(given.get("data") or sources.default_data()),
            address,
            given.get("cluster_token", ""),
            given.get("api_url", ""),
            given.get("api_token", ""),
        )

    @property
    def manager_here(self) -> str:
        return sources.manager_here(self.data, self.manager_address)

    def token(self) -> str:
        return self.cluster_token or sources.cluster_token(self.data)
