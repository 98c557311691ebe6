"""What the edge itself answers and asks, for as long as it may have to be said again (RFC 3261 17).

A request that comes again gets the same answer without anybody being asked twice. A final answer to an INVITE
is repeated until its ACK comes, since the client has stopped repeating the INVITE after our 100. A request of our
own is repeated until it is answered.
"""

from __future__ import annotations

import asyncio
import time

from teletrunk_worker.edge.flows import Flow
from teletrunk_worker.sip.message import Request, Response

_T1_S = 0.5
_T2_S = 4.0
_LIFETIME_S = 64 * _T1_S
_MOST_ASKED = 20_000
_MOST_UNASKED = 5_000
_LARGEST_KEPT = 4_096  # bytes of an answer to a stranger: it is as long as what the stranger wrote

Key = tuple[str, str, str]


class ServerTransaction:
    """One request and the latest answer to it."""

    def __init__(self, request: Request, flow: Flow) -> None:
        # The request itself is not kept: at 200 a second that would be 12,000 of them.
        self._repeats = request.method == "INVITE" and flow.transport == "UDP"
        self._flow = flow
        self._answer: bytes | None = None
        self._repeat: asyncio.TimerHandle | None = None
        self._interval = _T1_S
        self.born = time.monotonic()
        self.final = False

    def answer(self, response: Response, *, repeats: bool = True) -> None:
        """Sends `response`, and keeps it for when the request comes again. After a final one nothing is said any more.

        Without `repeats` it is said once to each request: who has not shown a password must not make us send more
        than they do (RFC 3261 26.3.2.4).
        """
        if self.final:
            return
        self._answer = bytes(response)
        self.repeat()
        self.final = response.code >= 200
        if self.final:
            self.born = time.monotonic()  # RFC 3261 17.2.1: the repeating has its own time, however long it has rung
        if not repeats and len(self._answer) > _LARGEST_KEPT:
            self._answer = None
        if self.final and self._repeats and repeats:
            self._schedule()

    def note(self, response: Response) -> None:
        """A host has answered. It repeats that by itself; we keep it for a request that comes again."""
        if response.code > 100:
            self._answer = bytes(response)

    def repeat(self) -> None:
        if self._answer is not None:
            self._flow.send(self._answer)

    def acknowledged(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()

    def _schedule(self) -> None:
        self._repeat = asyncio.get_running_loop().call_later(self._interval, self._on_repeat)

    def _on_repeat(self) -> None:
        if time.monotonic() - self.born > _LIFETIME_S:
            return
        self.repeat()
        self._interval = min(2 * self._interval, _T2_S)
        self._schedule()


class ServerTransactions:
    """The transactions of the last half minute.

    Those of strangers make room for newer ones: whoever floods the port pushes out answers of their own kind only.
    """

    def __init__(self) -> None:
        self._asked: dict[Key, ServerTransaction] = {}
        self._unasked: dict[Key, ServerTransaction] = {}

    def find(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        key = _key(request, method or request.method)
        return self._asked.get(key) or self._unasked.get(key)

    def answer(self, request: Request, response: Response) -> None:
        """An answer of ours to a request that may be forgotten already."""
        if transaction := self.find(request):
            transaction.answer(response)

    def note(self, response: Response) -> None:
        """An answer that was relayed."""
        if transaction := self._asked.get(_key(response, response.cseq.method)):
            transaction.note(response)

    def create(self, request: Request, flow: Flow) -> ServerTransaction:
        _forget_old(self._unasked)
        if len(self._unasked) >= _MOST_UNASKED:
            del self._unasked[next(iter(self._unasked))]
        transaction = ServerTransaction(request, flow)
        self._unasked[_key(request, request.method)] = transaction
        return transaction

    def ask(self, request: Request) -> bool:
        """The request has shown credentials: its answer is kept for sure. False when there are too many of them."""
        _forget_old(self._asked)
        key = _key(request, request.method)
        if len(self._asked) >= _MOST_ASKED or key not in self._unasked:
            return False
        self._asked[key] = self._unasked.pop(key)
        return True


def _forget_old(transactions: dict[Key, ServerTransaction]) -> None:
    """Dictionaries keep the order of insertion, so the oldest come first."""
    limit = time.monotonic() - _LIFETIME_S
    while transactions and (transaction := transactions[key := next(iter(transactions))]).born <= limit:
        transaction.acknowledged()
        del transactions[key]


def _key(message: Request | Response, method: str) -> Key:
    top = message.via  # the number, too: old clients keep a branch for the request that follows a challenge
    return (top.branch, f"{top.host}:{top.port}:{message.call_id}:{message.cseq.sequence}", method)


class ClientTransactions:
    """Requests of the edge's own that are no INVITE (RFC 3261 17.1.2): BYE and CANCEL in place of a host."""

    def __init__(self) -> None:
        self._repeats: dict[tuple[str, str], asyncio.TimerHandle] = {}

    def send(self, request: Request, flow: Flow) -> None:
        """Sends it now; over UDP again and again until it is answered, or for half a minute."""
        flow.send(bytes(request))
        if flow.transport == "UDP":
            key = (request.via.branch, request.method)
            self._schedule(key, bytes(request), flow, _T1_S, time.monotonic() + _LIFETIME_S)

    def answered(self, response: Response) -> bool:
        """Whether this is the answer to a request of ours; a final one ends its repeating."""
        key = (response.via.branch, response.cseq.method)
        handle = self._repeats.get(key)
        if handle is not None and response.code >= 200:
            handle.cancel()
            del self._repeats[key]
        return handle is not None

    def close(self) -> None:
        for handle in self._repeats.values():
            handle.cancel()
        self._repeats.clear()

    def _schedule(self, key: tuple[str, str], data: bytes, flow: Flow, interval: float, until: float) -> None:
        def again() -> None:
            if time.monotonic() > until or not flow.send(data):
                del self._repeats[key]
            else:
                self._schedule(key, data, flow, min(2 * interval, _T2_S), until)

        self._repeats[key] = asyncio.get_running_loop().call_later(interval, again)
