"""A user agent client (RFC 3261 8.1) for what we ask by ourselves outside of calls: REGISTER and OPTIONS."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.digest_client import Account, Credentials, challenges_of
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.transaction.client import ClientTransactions
from teletrunk_worker.sip.transport.flow import Address, Flow
from teletrunk_worker.sip.uas import SERVER

_MOST_CHALLENGES = 3  # of a proxy, of the server behind it, and one for a nonce that has grown old
ANSWER_S: Final = 8.0  # who is not heard within it is passed over for the next address


@dataclass
class Client:
    """Asks one server. The same Call-ID all along, and a number that rises (RFC 3261 10.2)."""

    transactions: ClientTransactions
    face: Callable[[Flow], Address]
    account: Account | None = None
    call_id: str = field(default_factory=lambda: secrets.token_hex(12))
    sequence: int = 0
    credentials: Credentials = field(default_factory=Credentials)

    async def ask(
        self, method: str, target: str, identity: str, flow: Flow, headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        """The final answer. `identity` is the address of record that asks, and that is asked about.

        A challenge is answered, with the account's password. Raises `NoAnswer`.
        """
        headers, tag = list(headers), secrets.token_hex(6)
        for _ in range(_MOST_CHALLENGES + 1):
            response = await self._ask_once(method, target, identity, tag, flow, headers)
            if self.account is None or not self.credentials.take(challenges_of(response)):
                return response
        return response

    async def _ask_once(
        self, method: str, target: str, identity: str, tag: str, flow: Flow, headers: list[tuple[str, str]]
    ) -> Response:
        self.sequence += 1
        request = Request(method, target)
        proxy.push_via(request, flow.transport, *self.face(flow), proxy.new_branch(), ";rport")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("From", f"<{identity}>;tag={tag}")
        request.headers.add("To", f"<{identity if method == 'REGISTER' else target}>")
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{self.sequence} {method}")
        for name, value in headers:
            request.headers.add(name, value)
        if self.account is not None:
            for name, answer in self.credentials.answers(method, target, self.account):
                request.headers.add(name, answer)
        request.headers.add("User-Agent", SERVER)
        request.headers.add("Content-Length", "0")
        return await self.transactions.ask(request, flow, ANSWER_S)
