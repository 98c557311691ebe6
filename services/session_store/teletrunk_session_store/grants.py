"""Which Worker may use which session, as the Manager has said it last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    **{_SERVICE + name: _WORKER for name in ("Call", "Watch", "ChangeWatch", "SendMessage")},
    _SERVICE + "Resolve": frozenset({"manager", "worker"}),  # whoever tests a number asks, too
}


class Grants:
    """Empty until the Manager has spoken: a Worker that comes earlier comes again."""

    def __init__(self) -> None:
        self._workers: frozenset[str] = frozenset()
        self._sessions: Mapping[str, manager_pb2.SessionGrant] = {}

    def take(self, workers: Iterable[str], sessions: Mapping[str, manager_pb2.SessionGrant]) -> None:
        """Sessions by their ids."""
        self._workers, self._sessions = frozenset(workers), sessions
        log.info("grants", workers=sorted(self._workers), sessions=len(sessions))

    def is_current(self, identity: Identity) -> bool:
        return identity == MANAGER or (identity.kind == "worker" and identity.id in self._workers)

    def require(self, context: Any, session_id: str) -> None:
        """Raises `Refusal` when the caller's certificate is of a Worker that may not use the session."""
        identity = identity_of(context)
        if identity not in (None, MANAGER) and not self.may_use(identity.id, session_id):
            raise Refusal("session-access-revoked")

    def may_use(self, worker_id: str, session_id: str) -> bool:
        grant = self._sessions.get(session_id)
        return grant is not None and worker_id in (grant.worker_ids or self._workers) and worker_id in self._workers


def by_session(config: manager_pb2.StorageConfig) -> manager_pb2.StorageConfig:
    """What an older Manager says, who speaks of Workers."""
    workers: dict[str, list[str]] = {}
    for grant in config.grants:
        for session_id in grant.session_ids:
            workers.setdefault(session_id, []).append(grant.worker_id)
    sessions = [manager_pb2.SessionGrant(session_id=id_, worker_ids=may) for id_, may in workers.items()]
    return manager_pb2.StorageConfig(worker_ids=[grant.worker_id for grant in config.grants], sessions=sessions)
