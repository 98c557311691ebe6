"""Rows of REGISTER and INVITE alike: 1, 3, 4."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from .gateway import FRIEND, OWN, PROMPT_S, Answer, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
SILENCE_S = 5.5  # the Worker gives the Manager four and a half
both = pytest.mark.parametrize("method", ["REGISTER", "INVITE"])


async def ask(gateway: Gateway, method: str) -> Answer:
    return await (gateway.register() if method == "REGISTER" else gateway.invite())


async def challenge(gateway: Gateway, method: str, **headers: str) -> Answer:
    began = time.monotonic()
    exchange = await gateway.wire.ask(gateway.wire.request(method, "someone", gateway.trunk.login, **headers))
    return Answer(exchange, time.monotonic() - began)


@both
async def test_unauthorized(gateway: Gateway, report: Report, method: str) -> None:
    answer = await challenge(gateway, method)
    report.saw("unauthorized", " ".join(map(str, answer.exchange.status)), answer.seconds)
    assert answer.exchange.status == (401, "Unauthorized")
    offers = answer.exchange.header("WWW-Authenticate")
    assert ["SHA-256" in offers[0], "MD5" in offers[1], len(offers)] == [True, True, 2]
    assert answer.seconds < PROMPT_S


async def test_unauthorized_when_credentials_are_stale(gateway: Gateway, report: Report) -> None:
    wire, trunk = gateway.wire, gateway.trunk
    first = wire.request("REGISTER", "", trunk.login)
    answered = wire.answer_challenge(first, (await wire.ask(first)).final, trunk.login, gateway.password)
    assert (await wire.ask(answered)).final.code == 200
    replay = await challenge(gateway, "REGISTER", Authorization=answered.headers["Authorization"])
    report.saw("unauthorized", " ".join(map(str, replay.exchange.status)), replay.seconds)
    assert replay.exchange.status == (401, "Unauthorized")
    assert all(offer.endswith("stale=true") for offer in replay.exchange.header("WWW-Authenticate"))


@both
async def test_unauthorized_names_its_row(gateway: Gateway, report: Report, method: str) -> None:
    report.carries(await challenge(gateway, method), "unauthorized", within=PROMPT_S)


@contextlib.contextmanager
def database_of(gateway: Gateway) -> Iterator[sqlite3.Connection]:
    """A second connection to the live Manager's database, as another program would have it."""
    path = next(gateway.world.stack.data.glob("manager*.db"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        yield connection


@both
async def test_database_error(gateway: Gateway, report: Report, method: str) -> None:
    with database_of(gateway) as database:
        database.execute("ALTER TABLE trunks RENAME TO mislaid")
        try:
            report.carries(await ask(gateway, method), "database-error", within=PROMPT_S)
        finally:
            database.execute("ALTER TABLE mislaid RENAME TO trunks")
    report.back(await gateway.back_in_service())


@both
async def test_a_database_that_somebody_else_writes_stops_nobody(gateway: Gateway, method: str) -> None:
    """Letting somebody in only reads; the call's record waits until it can be written."""
    with database_of(gateway) as database:
        database.execute("BEGIN EXCLUSIVE")
        try:
            answer = await ask(gateway, method)
            assert answer.exchange.final.code == (200 if method == "REGISTER" else 486)
            assert answer.seconds < PROMPT_S
        finally:
            database.execute("ROLLBACK")
    await gateway.back_in_service()


@both
async def test_manager_unreachable(gateway: Gateway, report: Report, method: str) -> None:
    async with gateway.without("manager"):
        report.carries(await ask(gateway, method), "manager-unreachable", within=PROMPT_S)
    report.back(await gateway.back_in_service())


@both
async def test_manager_unreachable_when_it_is_silent(gateway: Gateway, report: Report, method: str) -> None:
    with gateway.frozen("manager"):
        report.carries(await ask(gateway, method), "manager-unreachable", within=SILENCE_S)
    report.back(await gateway.back_in_service())


@contextlib.asynccontextmanager
async def plan(gateway: Gateway, *limits: str) -> AsyncIterator[None]:
    """The account under a plan with these limits, and no longer afterwards."""
    await gateway.world.command("subscription", "add", "trial", *limits)
    await gateway.world.command("subscription", "include", "trial", OWN)
    try:
        yield
    finally:
        await gateway.world.command("subscription", "remove", "trial")


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        (("--lines", "0"), "no paid line"),
        (("--valid-until", "2020-01-01"), "expired"),
        (("--total-seconds", "0"), "total duration exceeded"),
        (("--failed-calls", "0"), "failed calls exceeded"),
    ],
)
async def test_subscription_limit(gateway: Gateway, report: Report, limits: tuple[str, ...], detail: str) -> None:
    async with plan(gateway, *limits):
        report.carries(await gateway.invite(), "subscription-limit", f": {detail}", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_subscription_limit_all_lines_busy(gateway: Gateway, report: Report) -> None:
    """One line, one call that rings: the second call is refused, and the line is back when the first has ended."""
    subscribers = gateway.world.subscribers
    async with plan(gateway, "--lines", "1"):
        await subscribers.tell("behave", phone=FRIEND, on_call="ring")
        first = asyncio.ensure_future(gateway.invite())
        async with asyncio.timeout(SILENCE_S):
            while '"lines_taken": 1' not in await gateway.world.command("subscription", "list", "--json"):
                await asyncio.sleep(0.1)
        report.carries(await gateway.invite(), "subscription-limit", ": all lines busy", within=PROMPT_S)
        await subscribers.tell("behave", phone=FRIEND, on_call="decline")
        await subscribers.tell("hangup", phone=FRIEND)
        assert (await first).exchange.final.code >= 400
        report.back(await gateway.back_in_service())
