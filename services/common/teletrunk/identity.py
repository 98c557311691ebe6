"""Who a service is to the others.

The name stands in its certificate as a URI (`spiffe://teletrunk/worker/ID`) and as a DNS name that only means
something among the services: peers are known by who they are, not by where they were reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["manager", "worker", "storage"]
_PREFIX = "spiffe://teletrunk/"


@dataclass(frozen=True)
class Identity:
    kind: Kind
    id: str

    @property
    def uri(self) -> str:
        return f"{_PREFIX}{self.kind}/{self.id}"

    @property
    def server_name(self) -> str:
        """What its certificate is checked against by those who dial it."""
        return f"{self.id}.{self.kind}.teletrunk.internal"

    @classmethod
    def parse(cls, uri: str) -> Identity | None:
        kind, _, name = uri.removeprefix(_PREFIX).partition("/")
        if not uri.startswith(_PREFIX) or kind not in ("manager", "worker", "storage") or not name:
            return None
        return cls(kind, name)  # type: ignore[arg-type]  # checked above


MANAGER: Final = Identity("manager", "manager")
