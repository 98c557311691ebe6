"""Who may still run what a copy holds: the services of the installation that the copy was taken from."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_HERE = ("0.0.0.0", "[::]", "::", "localhost")  # noqa: S104  nothing is bound here
_MACHINE_ID = Path("/etc/machine-id")
MANAGER: Final = "Manager"
STORAGE: Final = "Session Storage"


@dataclass(frozen=True)
class Witness:
    """`service_id` is who its certificate names, `machine` and `data` say where it ran; empty when not known."""

    kind: str
    address: str
    service_id: str = ""
    machine: str = ""
    data: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Witness:
        return cls(**json.loads(text))


def is_loopback(address: str) -> bool:
    """Whether host:port leads to the machine itself."""
    host = reached(address).rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reached(address: str) -> str:
    """Where a service that listens at this address is reached on its own machine."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in _HERE else address


def machine_id() -> str:
    """systemd's id of this machine; empty where there is none, as in many containers."""
    try:
        return _MACHINE_ID.read_text().strip()
    except OSError:
        return ""
