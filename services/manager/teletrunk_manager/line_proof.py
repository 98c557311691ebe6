"""A line is kept for the Worker that was given it: whoever names another one in a heartbeat keeps nothing."""

from __future__ import annotations

import hashlib
import hmac

from teletrunk.v1 import manager_pb2 as pb

_LABEL = b"teletrunk line"


class LineProofs:
    """By a key that all Managers have."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)

    def of(self, line: pb.Line, worker_id: str) -> bytes:
        parts = [part.encode() for part in (line.subscription_id, line.call_id, worker_id)]
        said = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._key, said, hashlib.sha256)

    def hold(self, line: pb.Line, worker_id: str) -> bool:
        return hmac.compare_digest(line.proof, self.of(line, worker_id))
