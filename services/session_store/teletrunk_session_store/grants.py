"""Which Worker may use which session, as the Manager has said it last."""

from __future__ import annotations

from typing import Any

import structlog
from teletrunk.errors import Refusal
from teletrunk.identity import MANAGER, Identity
from teletrunk.security import identity_of
from teletrunk.v1 import manager_pb2

log = structlog.get_logger()

_WORKER = frozenset({"worker"})
_SERVICE = "/teletrunk.v1.SessionStoreService/"
# Signing in and out is the Manager's; what a call needs is the Workers'.
RIGHTS = {
    _SERVICE: frozenset({"manager"}),
    **{_SERVICE + name: _WORKER for name in ("Call", "Watch", "SendMessage")},
    _SERVICE + "Resolve": frozenset({"manager", "worker"}),  # whoever tests a number asks, too
}


class Grants:
    """Empty until the Manager has spoken: a Worker that comes earlier comes again."""

    def __init__(self) -> None:
        self._sessions: dict[str, frozenset[str]] = {}

    def take(self, config: manager_pb2.StorageConfig) -> None:
        self._sessions = {grant.worker_id: frozenset(grant.session_ids) for grant in config.grants}
        log.info("grants", workers={worker: len(sessions) for worker, sessions in self._sessions.items()})

    def is_current(self, identity: Identity) -> bool:
        return identity == MANAGER or (identity.kind == "worker" and identity.id in self._sessions)

    def require(self, context: Any, session_id: str) -> None:
        """Raises `Refusal` when the caller's certificate is of a Worker that may not use the session."""
        identity = identity_of(context)
        if identity not in (None, MANAGER) and session_id not in self._sessions.get(identity.id, frozenset()):
            raise Refusal("session-access-revoked")
