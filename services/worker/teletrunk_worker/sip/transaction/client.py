"""Client transactions for requests of our own that are no INVITE (RFC 3261 17.1.2): repeated until they are answered.

Everything that the Worker says for itself is one: BYE and CANCEL in place of a host, REGISTER and OPTIONS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.timers import T1_S, T2_S, TRANSACTION_S
from teletrunk_worker.sip.transport.flow import Flow

Key = tuple[str, str]
Heard = Callable[[Response | None], None]  # the final answer; None when there is none


class NoAnswer(OSError):
    """The flow is gone, or nobody has answered."""


@dataclass
class _Pending:
    data: bytes
    flow: Flow
    until: float
    interval: float
    timer: asyncio.TimerHandle
    heard: Heard


class ClientTransactions:
    """Those that have no final answer yet."""

    def __init__(self) -> None:
        self._pending: dict[Key, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, request: Request, flow: Flow, heard: Heard = lambda response: None) -> None:
        """Sends it now; over UDP again (timer E) until it is answered or half a minute has passed (timer F)."""
        self._begin(request, flow, TRANSACTION_S, heard)

    async def ask(self, request: Request, flow: Flow, seconds: float = TRANSACTION_S) -> Response:
        """The same, and waits for the final answer. Raises `NoAnswer`."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def heard(response: Response | None) -> None:
            if answer.done():
                return
            if response is None:
                answer.set_exception(NoAnswer(f"{flow.peer[0]} does not answer"))
            else:
                answer.set_result(response)

        key = self._begin(request, flow, seconds, heard)
        if key is None:
            raise NoAnswer(f"the connection to {flow.peer[0]} is gone")
        try:
            return await answer
        finally:
            if (pending := self._pending.pop(key, None)) is not None:
                pending.timer.cancel()

    def _begin(self, request: Request, flow: Flow, seconds: float, heard: Heard) -> Key | None:
        data = bytes(request)
        if not flow.send(data):
            return None
        key = (request.via.branch, request.method)
        until = asyncio.get_running_loop().time() + seconds
        interval = T1_S if flow.transport == "UDP" else seconds
        self._pending[key] = _Pending(data, flow, until, interval, self._later(interval, key), heard)
        return key

    def answered(self, response: Response) -> bool:
        """Whether this answers a request of ours; a final answer ends its transaction."""
        key = (response.via.branch, response.cseq.method)
        pending = self._pending.get(key)
        if pending is None:
            return False
        if response.code >= 200:
            pending.timer.cancel()
            del self._pending[key]
            pending.heard(response)
        else:
            pending.interval = T2_S  # RFC 3261 17.1.2.2: it is being worked on
        return True

    def close(self) -> None:
        for key in list(self._pending):
            self._give_up(key)

    def _give_up(self, key: Key) -> None:
        pending = self._pending.pop(key)
        pending.timer.cancel()
        pending.heard(None)

    def _later(self, seconds: float, key: Key) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._again, key)

    def _again(self, key: Key) -> None:
        pending = self._pending[key]
        left = pending.until - asyncio.get_running_loop().time()
        if left <= 0 or not pending.flow.send(pending.data):
            self._give_up(key)
            return
        pending.interval = min(2 * pending.interval, T2_S)
        pending.timer = self._later(min(pending.interval, left), key)
