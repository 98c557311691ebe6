"""Server transactions (RFC 3261 17.2): the latest answer to a request, for as long as it may have to be said again.

A request that comes again gets the same answer without anybody being asked twice. A final answer to an INVITE is
repeated until its ACK comes (timers G and H). Strangers have no transaction: what they hear is made of their request
alone (stateless, RFC 3261 8.2.7), so that they cannot fill anything. Nobody else fills it for all: an address has a
share of the places, and a dialog a small one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from teletrunk.places import Places

from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.timers import T1_S, T2_S, TRANSACTION_S
from teletrunk_worker.sip.transport.flow import Flow, network_of

MOST_TRANSACTIONS: Final = 40_000
MOST_OF_ADDRESS: Final = MOST_TRANSACTIONS // 2  # 300 calls a second of one PBX, begun and ended: each is kept for 32 s
MOST_OF_DIALOG: Final = 500  # a key by INFO each 70 ms

Key = tuple[str, str, str]


class ServerTransaction:
    """One request and the latest answer to it. The request itself is not kept: there may be thousands."""

    def __init__(self, request: Request, flow: Flow) -> None:
        self._repeats = request.method == "INVITE" and flow.transport == "UDP"
        self._flow = flow
        self._answer: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._interval = T1_S
        self.holders = _holders(request, flow)
        self.born = _now()
        self.ended = False  # by a final answer of our own: its ACK is for us

    def answer(self, response: Response) -> None:
        """Sends an answer of our own. After a final one nothing is said any more."""
        if self.ended:
            return
        self._stop()
        self._answer = bytes(response)
        self.repeat()
        self.ended = response.code >= 200
        if self.ended:
            self.born = _now()  # RFC 3261 17.2.1: the repeating has its own time, however long it has rung
            if self._repeats:
                self._schedule()

    def note(self, response: Response) -> bool:
        """A host has answered, and will repeat that by itself. False when we have given the final answer already."""
        if self.ended:
            return False
        self._stop()
        self._answer = bytes(response)
        return True

    def otherwise(self, seconds: float, answer: Callable[[], Response]) -> None:
        """Unless somebody answers within this time, `answer` is."""

        def late() -> None:
            self._timer = None
            self.answer(answer())

        self._timer = asyncio.get_running_loop().call_later(seconds, late)

    def repeat(self) -> None:
        if self._answer is not None:
            self._flow.send(self._answer)

    def acknowledged(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_repeat)

    def _on_repeat(self) -> None:
        self._timer = None
        if _now() - self.born > TRANSACTION_S:
            return
        self.repeat()
        self._interval = min(2 * self._interval, T2_S)
        self._schedule()


class ServerTransactions:
    """The transactions of the last half minute, of peers that have shown a password or are in a dialog."""

    def __init__(self) -> None:
        self._all: dict[Key, ServerTransaction] = {}  # the oldest first
        self._held: Places[str] = Places()

    def __len__(self) -> int:
        return len(self._all)

    def find(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        return self._all.get(_key(request, method or request.method))

    def of(self, response: Response) -> ServerTransaction | None:
        """The transaction that a host's answer belongs to; its own hop is off."""
        return self._all.get(_key(response, response.cseq.method))

    def create(self, request: Request, flow: Flow) -> ServerTransaction | None:
        """None when there are too many of them: in all, of this address, or of this dialog."""
        self._forget_old()
        if len(self._all) >= MOST_TRANSACTIONS or self._share_is_used(request, flow):
            return None
        key = _key(request, request.method)
        if (same := self._all.pop(key, None)) is not None:
            self._held.give_back(same.holders)
        transaction = self._all[key] = ServerTransaction(request, flow)
        self._held.update(transaction.holders)
        return transaction

    def close(self) -> None:
        for transaction in self._all.values():
            transaction.acknowledged()
        self._all.clear()
        self._held.clear()

    def _share_is_used(self, request: Request, flow: Flow) -> bool:
        address, *dialog = _holders(request, flow)
        of_dialog = any(self._held[one] >= MOST_OF_DIALOG for one in dialog)
        return of_dialog or self._held[address] >= MOST_OF_ADDRESS

    def _forget_old(self) -> None:
        limit = _now() - TRANSACTION_S
        while self._all and (transaction := self._all[key := next(iter(self._all))]).born <= limit:
            transaction.acknowledged()
            self._held.give_back(transaction.holders)
            del self._all[key]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _holders(request: Request, flow: Flow) -> tuple[str, ...]:
    """An address, and of what has a To tag a dialog."""
    address = network_of(flow.peer[0])
    return (address, f"dialog {request.call_id}") if request.to.tag else (address,)


def _key(message: Request | Response, method: str) -> Key:
    """RFC 3261 17.2.3. The number, too: old clients keep a branch for the request that follows a challenge."""
    top = message.via
    return (top.branch, f"{top.host}:{top.port}:{message.call_id}:{message.cseq.sequence}", method)
