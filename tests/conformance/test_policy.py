"""Rows that a person's own settings bring about: 6, 9, 10, 11, 19 and 23."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk.running import DRAINED
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.former_worker import former_worker

from .gateway import OWN, PROMPT_S, Answer, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
PATIENCE_S = 15.0
DRAINING = ": it takes no more calls"


async def once(ask: Callable[[], Awaitable[Answer]], status: int) -> Answer:
    """The first answer of this status: a change needs a moment to reach the Worker, which may be starting."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(TimeoutError):  # asked before the port was there
                answer = await asyncio.wait_for(ask(), 2)
                if answer.exchange.final.code == status:
                    return answer
            await asyncio.sleep(0.1)


async def test_ip_not_allowed(gateway: Gateway, report: Report) -> None:
    await gateway.world.command("trunk", "trust", gateway.trunk.login, "127.0.0.9", "2001:db8::/32")
    report.carries(await gateway.register(), "ip-not-allowed", within=PROMPT_S)
    report.carries(await gateway.invite(), "ip-not-allowed", within=PROMPT_S)
    await gateway.world.command("trunk", "trust", gateway.trunk.login, "--everywhere")
    report.back(await gateway.back_in_service())


async def test_registration_type_not_allowed(report: Report, tmp_path: Path) -> None:
    world = World(tmp_path, TELETRUNK_ALLOW_REGISTRATION="false")
    async with world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        other = Gateway(world, wire)
        await world.add_account(OWN, "gateway")
        added = await world.add_trunk(OWN)
        other.trunk, other.password = added.trunk, added.password
        report.carries(await other.register(), "registration-type-not-allowed", within=PROMPT_S)


async def test_session_access_revoked(gateway: Gateway, report: Report) -> None:
    another = former_worker(gateway.world.directory / "data", "anotherworker")
    await gateway.world.command("worker", "assign", OWN, another)
    detail = ": the account is assigned to another Worker"
    report.carries(await gateway.register(), "session-access-revoked", detail, within=PROMPT_S)
    await gateway.world.command("worker", "assign", OWN)
    report.back(await gateway.back_in_service())


async def test_worker_restarting_before_the_managers_first_word(gateway: Gateway, report: Report) -> None:
    async with gateway.without("manager"):
        async with gateway.without("worker"):
            pass
        report.carries(await once(gateway.invite, 503), "worker-restarting", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_no_active_session(gateway: Gateway, report: Report) -> None:
    """The Storage came back without the session: its vault is not the one that it had."""
    data = gateway.world.stack.data
    away = data / "away"
    away.mkdir()
    async with gateway.without("session-store"):
        for file in data.glob("vault.db*"):
            shutil.move(file, away)

    async def registered_then_invited() -> Answer:
        await gateway.register()
        return await gateway.invite()

    async with asyncio.timeout(PATIENCE_S):
        while (answer := await registered_then_invited()).exchange.final.phrase == "Session storage is unreachable":
            await asyncio.sleep(0.1)
    report.carries(answer, "no-active-session", within=PROMPT_S)
    async with gateway.without("session-store"):
        for file in data.glob("vault.db*"):
            file.unlink()
        for file in away.glob("vault.db*"):
            shutil.move(file, data)
    report.back(await gateway.back_in_service())


# The last ones: nobody starts a Worker again that has drained and left.


@pytest_asyncio.fixture(loop_scope="module")
async def draining(gateway: Gateway) -> AsyncIterator[None]:
    """The Worker has drained and left, was started again, and still takes nothing."""
    stack = gateway.world.stack
    worker = next(service.id for service in await stack.attached() if service.kind == "worker")
    await gateway.world.command("worker", "drain", worker)
    process = stack.children["worker"].process
    assert process is not None and await asyncio.wait_for(process.wait(), PATIENCE_S) == DRAINED
    await stack.children["worker"].start()
    async with asyncio.timeout(PATIENCE_S):
        while worker not in [service.id for service in await stack.attached()]:
            await asyncio.sleep(0.1)
    yield
    await gateway.world.command("worker", "drain", worker, "--off")


async def test_worker_off(gateway: Gateway, report: Report, draining: None) -> None:
    report.carries(await once(gateway.register, 403), "worker-off", DRAINING, within=PROMPT_S)


async def test_worker_restarting(gateway: Gateway, report: Report, draining: None) -> None:
    await once(gateway.register, 403)
    report.carries(await gateway.invite(), "worker-restarting", DRAINING, within=PROMPT_S)
