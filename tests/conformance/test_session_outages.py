"""Rows of a call from a PBX whose way to Telegram is broken or closed for a time: 20 to 22."""

from __future__ import annotations

import asyncio
import time

import pytest
from teletrunk.v1 import manager_pb2

from .gateway import FRIEND, OWN, PROMPT_S, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
LINK_SILENCE_S = 8.0  # a Storage that says nothing is given no more than this
TELEGRAM_SILENCE_S = 12.0  # and Telegram ten seconds for a request
REQUEST_CALL = "phone.requestCall"
A_DAY_S = 86_400


async def until_disconnected(gateway: Gateway) -> None:
    async with asyncio.timeout(15):
        while (await gateway.account(OWN)).state == manager_pb2.SESSION_STATE_ACTIVE:
            await asyncio.sleep(0.05)


async def test_session_disconnected(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.cut(OWN, 6)
    await until_disconnected(gateway)
    report.carries(await gateway.invite(), "session-disconnected", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_session_disconnected_a_moment_ago(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.cut(OWN, TELEGRAM_SILENCE_S + 3)
    report.carries(await gateway.invite(), "session-disconnected", within=TELEGRAM_SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_storage_unreachable(gateway: Gateway, report: Report) -> None:
    async with gateway.without("session-store"):
        report.carries(await gateway.invite(), "storage-unreachable", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_storage_unreachable_when_it_dies_as_the_call_starts(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.delay(OWN, 3600, REQUEST_CALL)
    await gateway.world.control.trace(OWN, True)
    answer = asyncio.create_task(gateway.invite())
    try:
        await until_asked(gateway, REQUEST_CALL)
        killed_at = time.monotonic()
        async with gateway.without("session-store"):
            await answer
            assert time.monotonic() - killed_at < PROMPT_S
    finally:
        await gateway.world.control.delay(OWN, 0, REQUEST_CALL)
    report.carries(await answer, "storage-unreachable", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_storage_unreachable_when_it_is_silent(gateway: Gateway, report: Report) -> None:
    with gateway.frozen("session-store"):
        report.carries(await gateway.invite(), "storage-unreachable", within=LINK_SILENCE_S)
    report.back(await gateway.back_in_service())


async def asked(gateway: Gateway, method: str) -> int:
    """How often the account has asked Telegram for this since the trace began."""
    return sum(call["method"].lower() == method.lower() for call in await gateway.world.control.trace_log(OWN))


async def until_asked(gateway: Gateway, method: str) -> None:
    async with asyncio.timeout(10):
        while not await asked(gateway, method):
            await asyncio.sleep(0.02)


async def flooded(gateway: Gateway, report: Report, until: float) -> int:
    """One refused call: it names the time that is left."""
    answer = await gateway.invite()
    left = until - time.monotonic()
    seconds = answer.retry_after
    report.carries(answer, "flood-wait", f": retry after {seconds}", within=PROMPT_S, retry_after=seconds)
    assert left - 1 <= seconds <= left + 2
    return seconds


@pytest.mark.parametrize("method", [REQUEST_CALL, "messages.getDhConfig"])
async def test_flood_wait(gateway: Gateway, report: Report, method: str) -> None:
    await gateway.world.control.flood(OWN, 4, method)
    began = time.monotonic()
    await flooded(gateway, report, began + 4)
    async with asyncio.timeout(10):
        while time.monotonic() < began + 5:
            await asyncio.sleep(0.1)
    report.back(await gateway.back_in_service())


async def test_flood_wait_is_kept_without_asking_telegram_again(gateway: Gateway, report: Report) -> None:
    wait = 20  # enough for a Storage to come back meanwhile
    await gateway.world.control.trace(OWN, True)
    await gateway.world.control.flood(OWN, wait, REQUEST_CALL)
    until = time.monotonic() + wait
    first = await flooded(gateway, report, until)
    requests = await asked(gateway, REQUEST_CALL)
    assert requests == 1
    while time.monotonic() < until - wait + 2:
        await asyncio.sleep(0.1)
    assert await flooded(gateway, report, until) < first
    async with gateway.without("session-store"):
        pass
    await gateway.world.active(gateway.trunk.account_id)  # the successor has read what its predecessor was told
    await flooded(gateway, report, until)
    assert await asked(gateway, REQUEST_CALL) == requests
    while time.monotonic() < until:
        await asyncio.sleep(0.1)
    report.back(await gateway.back_in_service())
    assert await asked(gateway, REQUEST_CALL) > requests


async def test_flood_wait_of_a_peer_flood(gateway: Gateway, report: Report) -> None:
    """Last in this module: Telegram names no time, so the account is silent for a day."""
    await gateway.world.control.peer_flood(OWN, True)
    answer = await gateway.invite(FRIEND)
    report.carries(answer, "flood-wait", f": retry after {A_DAY_S}", within=PROMPT_S, retry_after=A_DAY_S)
