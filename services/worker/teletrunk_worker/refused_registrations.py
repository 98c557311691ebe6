"""Registrations that this Worker refuses without asking the Manager, who is told of them with the next heartbeat."""

from __future__ import annotations

from typing import Final

from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb

_MOST_WAITING: Final = 100


class RefusedRegistrations:
    """Counted by login, address and row. Beyond so many kinds between two heartbeats, new ones are left out."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str, str], pb.RefusedAtEdge] = {}

    def note(self, login: str, source_address: str, refusal: Refusal) -> None:
        key = login, source_address, refusal.row.id
        if key not in self._waiting and len(self._waiting) >= _MOST_WAITING:
            return
        fresh = pb.RefusedAtEdge(login=login, source_address=source_address, error_id=refusal.row.id)
        refused = self._waiting.setdefault(key, fresh)
        refused.detail, refused.cause = refusal.detail, refusal.cause
        refused.count += 1

    def taken(self) -> list[pb.RefusedAtEdge]:
        """Those that nobody was told of."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())
