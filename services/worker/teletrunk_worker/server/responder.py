"""How requests are answered: through their transaction, or, to strangers, once and no longer than they pay for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.metrics import SIP_ERRORS, STRANGERS

from teletrunk_worker.policy import refusals
from teletrunk_worker.policy.strangers import Strangers
from teletrunk_worker.sip import uas
from teletrunk_worker.sip.message import Message, Request, Response
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.transaction.server import ServerTransaction, ServerTransactions
from teletrunk_worker.sip.transport.flow import Flow

log = structlog.get_logger()

_FIRST_OF_S = 60.0  # of errors that strangers can cause, one in so long is told whole


class Responder:
    """Whatever happens to a request, it is answered."""

    def __init__(self, transactions: ServerTransactions, strangers: Strangers) -> None:
        self._transactions = transactions
        self._strangers = strangers
        self._tasks = BackgroundTasks()
        self._told_at = -_FIRST_OF_S

    async def close(self) -> None:
        await self._tasks.settle(0)

    def answer(self, request: Request, flow: Flow, answer: Response) -> None:
        """Through the request's transaction, if it got as far as to have one; else once (RFC 3261 8.2.7)."""
        if (transaction := self._transaction_of(request)) is not None:
            transaction.answer(answer)
        elif (data := self._affordable(request, answer, flow)) is not None:
            flow.send(data)
        else:
            STRANGERS.labels("unanswered").inc()

    def _transaction_of(self, request: Request) -> ServerTransaction | None:
        try:
            return self._transactions.find(request)
        except Malformed:
            return None

    def _affordable(self, request: Request, answer: Response, flow: Flow) -> bytes | None:
        """Over UDP the sender may be another than it says: they get an answer in proportion, or none."""
        data = bytes(answer)
        if flow.transport != "UDP" or self._strangers.may_hear(flow.peer[0], request.wire_length, len(data)):
            return data
        data = bytes(uas.shortened(answer))
        return data if self._strangers.may_hear(flow.peer[0], request.wire_length, len(data)) else None

    def run(self, work: Coroutine[Any, Any, None], request: Request, flow: Flow) -> asyncio.Task[None]:
        """What goes on with a request while others come in."""

        async def answered() -> None:
            try:
                await work
            except Malformed as error:
                self.unreadable(request, flow, error)
            except Refusal as refusal:
                self.answer(request, flow, refusals.refuse(request, refusal))
            except Exception as error:
                self.failed(error, request, flow)

        task = self._tasks.run(answered())
        task.add_done_callback(lambda _: work.close())  # of a task that was cancelled before it began
        return task

    def unreadable(self, message: Message, flow: Flow, error: Malformed) -> None:
        """Something in it is no SIP, or is too large."""
        if isinstance(message, Request) and (answer := refusals.unreadable(message, error)) is not None:
            self.answer(message, flow, answer)

    def damaged(self, message: Message, flow: Flow, error: Malformed) -> None:
        """It was looked at no further. If its request is being answered, it is a copy that was spoilt on its way."""
        if not (isinstance(message, Request) and self._transaction_of(message)):
            self.unreadable(message, flow, error)

    def failed(self, error: Exception, message: Message, flow: Flow) -> None:
        """Our own mistake: counted, told once a minute, and the peer is not left without an answer."""
        SIP_ERRORS.inc()
        if time.monotonic() - self._told_at >= _FIRST_OF_S:
            self._told_at = time.monotonic()
            log.error("a SIP message met an error of ours", peer=flow.peer[0], exc_info=error)
        error.__traceback__ = None  # it holds the message
        if isinstance(message, Request) and message.method != "ACK":
            self.answer(message, flow, uas.respond(message, 500, "Server Internal Error"))
