"""Subscriptions: plans, the accounts in them, and the lines that calls take."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.errors import TABLE, Refusal
from teletrunk.remedies import LIST_SUBSCRIPTIONS, Shows
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import subscription_pb2 as pb

from teletrunk_manager.accounts import find_account, visible
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Account, Call, Subscription
from teletrunk_manager.domain.plans import Plan, Usage, longest_call, objection
from teletrunk_manager.mistakes import Mistake, NotNow, Taken, Unknown
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.state import OutOfReach, SharedState

log = structlog.get_logger()

_LONGEST_NAME = 64
_USUAL_WINDOW_S = 30 * 86_400
_TOLD_S = 60.0
_LIMITS = ("lines", "valid_until", "total_seconds", "failed_calls", "window_seconds", "call_seconds")


@dataclass(frozen=True)
class Permit:
    """What a call may do. `line` is None when nobody counts."""

    line: manager_pb2.Line | None = None
    longest_seconds: int = 0


# Rows of calls that were refused before Telegram was asked: they are no failures of the customer's.
_NOBODY_WAS_CALLED = sorted(
    {row.id for row in TABLE.values() if row.flow in ("common", "registration")}
    | {"not-registered", "no-active-session", "worker-restarting"}
)


class Subscriptions:
    def __init__(self, database: Database, state: SharedState, proofs: Proofs) -> None:
        self._database = database
        self._state = state
        self._proofs = proofs
        self._told: dict[str, float] = {}  # by plan: when its limit was told last
        self.on_limit: Callable[[dict[str, Any]], None] = lambda facts: None

    # A call.

    async def permit(self, subscription_id: str | None, call_id: str, worker_id: str) -> Permit:
        """Lets a call through, with a line of its account's plan. Raises `Refusal`.

        A plan that counts lines cannot be kept while the shared state is away: its calls wait. All others go on.
        """
        if subscription_id is None:
            return Permit()
        async with self._database.transaction(reading=True) as session:
            row = await session.get_one(Subscription, subscription_id)
            usage = await _usage(session, row)
        plan = Plan(row.lines, row.valid_until, row.total_seconds, row.failed_calls, row.call_seconds)
        if why := objection(plan, usage, time.time()):
            raise self._limited(row, why)
        line = None
        if plan.lines is not None:
            line = manager_pb2.Line(subscription_id=row.subscription_id, call_id=call_id)
            if not await self._taken(line, plan.lines):
                raise self._limited(row, "all lines busy")
            line.proof = self._proofs.of_line(line, worker_id)
        return Permit(line, longest_call(plan, usage))

    def _limited(self, row: Subscription, why: str) -> Refusal:
        """Told at most once a minute a plan: the calls that it refuses may be many."""
        now = time.monotonic()
        if now - self._told.get(row.subscription_id, -math.inf) > _TOLD_S:
            self._told[row.subscription_id] = now
            self.on_limit({"subscription_id": row.subscription_id, "name": row.name, "why": why})
        return Refusal("subscription-limit", why)

    async def _taken(self, line: manager_pb2.Line, limit: int) -> bool:
        try:
            return await self._state.take_line((line.subscription_id, line.call_id), limit)
        except OutOfReach as error:
            log.error("database failed", error=f"the shared state: {error}")
            raise Refusal("database-error", "lines cannot be counted") from None

    async def give_back(self, line: manager_pb2.Line | None) -> None:
        """The call has ended, or was not let in after all. If this cannot be said now, the line lapses by itself."""
        if line is None or not line.subscription_id:
            return
        try:
            await self._state.give_line((line.subscription_id, line.call_id))
        except OutOfReach:
            log.warning("a line waits until it lapses", subscription_id=line.subscription_id, call_id=line.call_id)

    async def ended(self, account_id: str, call_id: str) -> None:
        """Gives back what a call may have held."""
        async with self._database.transaction(reading=True) as session:
            account = await session.get(Account, account_id)
        if account is not None and account.subscription_id is not None:
            await self.give_back(manager_pb2.Line(subscription_id=account.subscription_id, call_id=call_id))

    # For people.

    async def add(self, request: pb.AddSubscriptionRequest) -> pb.Subscription:
        """Raises `Mistake`."""
        name = request.name.strip()
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise Mistake(f"a subscription needs a name of up to {_LONGEST_NAME} characters")
        row = Subscription(subscription_id=secrets.token_hex(6), name=name, **_columns(request.limits))
        async with self._database.transaction() as session:
            session.add(row)
            try:
                await session.flush()
            except IntegrityError:
                raise Taken(f"there is a subscription {name} already: choose another name, or change it") from None
        return await self._message(row, [])

    async def change(self, request: pb.ChangeSubscriptionRequest) -> pb.Subscription:
        """Raises `Unknown`, `Mistake`, and `NotNow` when it has been changed since the version that was looked at."""
        async with self._database.transaction() as session:
            row = await _find(session, request.subscription)
            if request.version and request.version != row.version:
                raise NotNow(f"{row.name} has been changed meanwhile: look at it again")
            for name, value in _columns(request.limits).items():
                setattr(row, name, value)
            await session.flush()
            accounts = await _included(session, row.subscription_id)
        return await self._message(row, accounts)

    async def one(self, name: str) -> pb.Subscription:
        """Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            row = await _find(session, name)
            accounts = await _included(session, row.subscription_id)
        return await self._message(row, accounts)

    async def page(self, request: pb.ListSubscriptionsRequest) -> pb.ListSubscriptionsResponse:
        """By name."""
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, sa.select(Subscription), Subscription.name, request)
            accounts = [await _included(session, row.subscription_id) for row in rows]
        plans = [await self._message(row, included) for row, included in zip(rows, accounts, strict=True)]
        return pb.ListSubscriptionsResponse(subscriptions=plans, next=following)

    async def remove(self, name: str) -> None:
        """Raises `Unknown`. Its accounts are in no plan then, and without limits."""
        async with self._database.transaction() as session:
            row = await _find(session, name)
            for account in await session.scalars(
                sa.select(Account).where(Account.subscription_id == row.subscription_id)
            ):
                account.subscription_id = None
            await session.flush()
            await session.delete(row)

    async def include(self, account: str, name: str) -> None:
        """Raises `Unknown`."""
        async with self._database.transaction() as session:
            found = await find_account(session, account)
            found.subscription_id = (await _find(session, name)).subscription_id if name else None

    async def _message(self, row: Subscription, accounts: list[str]) -> pb.Subscription:
        limits = {name: getattr(row, name) for name in _LIMITS if getattr(row, name) is not None}
        try:
            taken = await self._state.lines(row.subscription_id)
        except OutOfReach:
            taken = 0
        return pb.Subscription(
            subscription_id=row.subscription_id,
            name=row.name,
            limits=pb.Limits(**limits),
            account_ids=accounts,
            version=row.version,
            lines_taken=taken,
        )


async def _find(session: AsyncSession, text: str) -> Subscription:
    for column in (Subscription.name, Subscription.subscription_id):
        if (found := await session.scalar(sa.select(Subscription).where(column == text))) is not None:
            return found
    raise Unknown(f"there is no subscription {text}: ", Shows(LIST_SUBSCRIPTIONS))


async def _included(session: AsyncSession, subscription_id: str) -> list[str]:
    query = sa.select(Account.account_id).where(Account.subscription_id == subscription_id, visible(Account.account_id))
    return list((await session.scalars(query.order_by(Account.account_id))).all())


async def _usage(session: AsyncSession, row: Subscription) -> Usage:
    """From the call records of the plan's accounts. Calls that are up count when they have ended."""
    if row.window_seconds is None or (row.total_seconds is None and row.failed_calls is None):
        return Usage()
    talked_each = sa.case((Call.answered_at > 0, Call.ended_at - Call.answered_at), else_=0.0)
    failed = sa.and_(Call.to_telegram, Call.routed, Call.answered_at == 0, Call.error_id.not_in(_NOBODY_WAS_CALLED))
    failed_each = sa.case((failed, 1), else_=0)
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(talked_each), 0), sa.func.coalesce(sa.func.sum(failed_each), 0))
        .join(Account, Account.account_id == Call.account_id)
        .where(Account.subscription_id == row.subscription_id, Call.invited_at >= time.time() - row.window_seconds)
    )
    talked, count = (await session.execute(query)).one()
    return Usage(float(talked), int(count))


def _columns(limits: pb.Limits) -> dict[str, float | int | None]:
    """All of the plan's columns: what is absent is not limited. Raises `Mistake`."""
    present = {field.name for field, _ in limits.ListFields()}
    given = {name: getattr(limits, name) if name in present else None for name in _LIMITS}
    if given["window_seconds"] == 0 or given["call_seconds"] == 0:
        raise Mistake("a window and a call's length are at least a second; leave them out for no limit")
    if given["total_seconds"] is not None or given["failed_calls"] is not None:
        given["window_seconds"] = given["window_seconds"] or _USUAL_WINDOW_S
    if any(value is not None and value >= 2**31 for name, value in given.items() if name != "valid_until"):
        raise Mistake("a limit is too large: leave it out for no limit")
    return given
