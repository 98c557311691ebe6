"""Client transactions for requests of our own that are no INVITE (RFC 3261 17.1.2): repeated until they are answered.

Everything that the Worker says for itself is one: BYE and CANCEL in place of a host.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.timers import T1_S, T2_S, TRANSACTION_S
from teletrunk_worker.sip.transport.flow import Flow

Key = tuple[str, str]


@dataclass
class _Pending:
    data: bytes
    flow: Flow
    until: float
    interval: float
    timer: asyncio.TimerHandle


class ClientTransactions:
    """Those that have no final answer yet."""

    def __init__(self) -> None:
        self._pending: dict[Key, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, request: Request, flow: Flow) -> None:
        """Sends it now; over UDP again (timer E) until it is answered or half a minute has passed (timer F)."""
        data = bytes(request)
        if not flow.send(data):
            return
        key = (request.via.branch, request.method)
        until = asyncio.get_running_loop().time() + TRANSACTION_S
        interval = T1_S if flow.transport == "UDP" else TRANSACTION_S
        self._pending[key] = _Pending(data, flow, until, interval, self._later(interval, key))

    def answered(self, response: Response) -> bool:
        """Whether this answers a request of ours; a final answer ends its transaction."""
        key = (response.via.branch, response.cseq.method)
        pending = self._pending.get(key)
        if pending is None:
            return False
        if response.code >= 200:
            pending.timer.cancel()
            del self._pending[key]
        else:
            pending.interval = T2_S  # RFC 3261 17.1.2.2: it is being worked on
        return True

    def close(self) -> None:
        for pending in self._pending.values():
            pending.timer.cancel()
        self._pending.clear()

    def _later(self, seconds: float, key: Key) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._again, key)

    def _again(self, key: Key) -> None:
        pending = self._pending[key]
        if asyncio.get_running_loop().time() >= pending.until or not pending.flow.send(pending.data):
            del self._pending[key]
            return
        pending.interval = min(2 * pending.interval, T2_S)
        pending.timer = self._later(pending.interval, key)
