"""What the Manager has said to a Worker comes back with its mark: nobody else can say that it did."""

from __future__ import annotations

import hashlib
import hmac
import struct
import time

from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

_LINE, _ROUTE, _SIGN_IN = b"teletrunk line", b"teletrunk route", b"teletrunk sign-in"
_TO_TELEGRAM = call_pb2.DIRECTION_SIP_TO_TELEGRAM


class Proofs:
    """By a key that all Managers have: each knows the others' marks, and its own from before a restart."""

    def __init__(self, key: bytes) -> None:
        self._lines = hmac.digest(key, _LINE, hashlib.sha256)
        self._routes = hmac.digest(key, _ROUTE, hashlib.sha256)
        self._sign_ins = hmac.digest(key, _SIGN_IN, hashlib.sha256)

    def of_line(self, line: pb.Line, worker_id: str) -> bytes:
        return _mark(self._lines, line.subscription_id, line.call_id, worker_id)

    def line_holds(self, line: pb.Line, worker_id: str) -> bool:
        """Whether this Worker was given the line: whoever names another one in a heartbeat keeps nothing."""
        return hmac.compare_digest(line.proof, self.of_line(line, worker_id))

    def of_route(self, call_id: str, worker_id: str, account_id: str, trunk_id: str = "") -> call_pb2.RouteProof:
        """Of a call from Telegram no trunk is known yet: it may be any of the account's."""
        now = time.time()
        return call_pb2.RouteProof(routed_at=now, mark=self._route_mark(now, call_id, worker_id, account_id, trunk_id))

    def route_holds(self, record: call_pb2.CallRecord) -> bool:
        """Whether the call was routed to the Worker, for the account and the trunk that its record names."""
        trunk_id = record.trunk_id if record.direction == _TO_TELEGRAM else ""
        proof = record.route_proof
        mark = self._route_mark(proof.routed_at, record.call_id, record.worker_id, record.account_id, trunk_id)
        return hmac.compare_digest(proof.mark, mark)

    def of_sign_in(self, administrator: str, *parts: str) -> bytes:
        return _mark(self._sign_ins, administrator, *parts)

    def _route_mark(self, routed_at: float, *ids: str) -> bytes:
        return _mark(self._routes, struct.pack(">d", routed_at).hex(), *ids)


def _mark(key: bytes, *parts: str) -> bytes:
    """No two lists of parts give the same bytes to be marked."""
    encoded = [part.encode() for part in parts]
    return hmac.digest(key, b"".join(len(part).to_bytes(4) + part for part in encoded), hashlib.sha256)
