"""A gateway under trial: what makes its rows come true, and how its answers are read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from teletrunk.errors import TABLE
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.world import World

from tests import sip_wire

OWN, FRIEND = "+79990000001", "+79990000002"
PROMPT_S = 2.0  # at once, on a busy machine too: no timer of ours was waited for, the shortest has four seconds
BACK_S = 20.0  # after an outage, the next call works within this
_LONGEST_ANSWER_S = 60.0
Note = Callable[[str, object], None]


@dataclass(frozen=True)
class Answer:
    """A final answer and how long it took."""

    exchange: sip_wire.Exchange
    seconds: float

    @property
    def retry_after(self) -> int:
        return int(self.exchange.header("Retry-After")[0])


class Report:
    """What one test puts into the table at the end of the session."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def carries(
        self, answer: Answer, row_id: str, detail: str = "", *, within: float, retry_after: int | None = None
    ) -> None:
        """The whole row stands on the wire, and came in time."""
        row, exchange = TABLE[row_id], answer.exchange
        phrase = f"{row.phrase}{detail}"
        self.saw(row_id, " ".join(map(str, exchange.status)), answer.seconds)
        assert exchange.status == (row.sip_status, phrase)
        reasons = [f'SIP;cause={row.sip_status};text="{phrase}"', *([f"Q.850;cause={row.q850}"] if row.q850 else [])]
        assert exchange.header("Reason") == reasons
        assert exchange.header("Warning") == [f'399 teletrunk "{row_id}"']
        wait = row.retry_after if retry_after is None else retry_after
        assert exchange.header("Retry-After") == ([str(wait)] if wait else [])
        assert answer.seconds < within

    def saw(self, row_id: str, text: str, seconds: float) -> None:
        self._note("row", row_id)
        self._note("answer", text)
        self._note("seconds", seconds)

    def back(self, seconds: float) -> None:
        """How long after an outage's end the next call worked."""
        self._note("back", seconds)


class Gateway:
    """A world, an account with a trunk, a bare SIP socket as its PBX, and a friend at Telegram who declines calls."""

    def __init__(self, world: World, wire: sip_wire.SipWire) -> None:
        self.world = world
        self.wire = wire
        self.trunk: admin_pb2.Trunk
        self.password = ""

    async def furnish(self) -> None:
        account = await self.world.add_account(OWN, "gateway")
        added = await self.world.add_trunk(OWN)
        self.trunk, self.password = added.trunk, added.password
        await self.world.active(account.account_id)
        await self.world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        await self.world.subscribers.tell("behave", phone=FRIEND, on_call="decline")
        await self.back_in_service()

    # What a PBX does.

    async def register(self, login: str = "", password: str = "", **headers: str) -> Answer:
        return await self._timed("REGISTER", "", login, password, **{"Expires": "300", **headers})

    async def invite(self, called: str = FRIEND, login: str = "", password: str = "") -> Answer:
        return await self._timed("INVITE", called.replace("@", "%40"), login, password)

    async def _timed(self, method: str, user: str, login: str, password: str, **headers: str) -> Answer:
        began = time.monotonic()
        exchange = await self.wire.authenticated(
            method, user, login or self.trunk.login, password or self.password, patience=_LONGEST_ANSWER_S, **headers
        )
        return Answer(exchange, time.monotonic() - began)

    async def back_in_service(self) -> float:
        """Seconds until the PBX is registered and a call goes all the way to the friend, who declines it."""
        began = time.monotonic()
        seen: list[tuple[int, str]] = []
        while time.monotonic() - began < BACK_S:
            with contextlib.suppress(TimeoutError):  # a Worker that is away answers nothing
                registered = await self.wire.register(self.trunk.login, self.password)
                seen.append(registered.status)
                if registered.final.code == 200:
                    seen.append((await self.invite()).exchange.status)
                    if seen[-1] == (486, "Busy Here"):
                        return time.monotonic() - began
            await asyncio.sleep(0.2)
        raise AssertionError(f"no call got through in {BACK_S} s: {seen}")

    # What goes wrong.

    @contextlib.asynccontextmanager
    async def without(self, service: str) -> AsyncIterator[None]:
        """The service is killed, and nobody starts it again meanwhile."""
        await self.world.stack.hold_down(service)
        try:
            yield
        finally:
            self.world.stack.let_up(service)

    @contextlib.contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """The service is stopped: its links stay up, and it says nothing."""
        process = self.world.stack.children[service].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    # What people see.

    async def account(self, phone: str) -> admin_pb2.Account:
        accounts = (await self.world.admin.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=5)).accounts
        return next(account for account in accounts if account.phone.lstrip("+") == phone.lstrip("+"))
