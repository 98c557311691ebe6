"""Rows of a PBX's registration: 5, 7, 8, 12."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk.v1 import manager_pb2
from teletrunk_sandbox.commands import REVOCATIONS

from .gateway import OWN, PROMPT_S, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def test_wrong_password(gateway: Gateway, report: Report) -> None:
    report.carries(await gateway.register(password="wrong"), "wrong-password", within=PROMPT_S)
    report.back(await gateway.back_in_service())


async def test_wrong_password_of_a_call(gateway: Gateway, report: Report) -> None:
    report.carries(await gateway.invite(password="wrong"), "wrong-password", within=PROMPT_S)


async def test_login_not_found(gateway: Gateway, report: Report) -> None:
    report.carries(await gateway.register(login="nobody"), "login-not-found", within=PROMPT_S)


async def test_login_not_found_after_it_was_deleted(gateway: Gateway, report: Report) -> None:
    deleted = await gateway.world.add_trunk(OWN)
    login = deleted.trunk.login
    assert (await gateway.register(login, deleted.password)).exchange.status == (200, "OK")
    await gateway.world.remove_trunk(login)
    report.carries(await gateway.register(login, deleted.password), "login-not-found", within=PROMPT_S)


async def inactive(gateway: Gateway, report: Report, reason: str) -> None:
    async with asyncio.timeout(45):
        while (await gateway.account(OWN)).state != manager_pb2.SESSION_STATE_UNAUTHORIZED:
            await asyncio.sleep(0.1)
    report.carries(await gateway.register(), "account-inactive", f": {reason}", within=PROMPT_S)
    await gateway.world.add_account(OWN, "gateway")  # signing in again mends it, and the trunk stays
    report.back(await gateway.back_in_service())


@pytest.mark.parametrize("reason", REVOCATIONS)
async def test_account_inactive(gateway: Gateway, report: Report, reason: str) -> None:
    await gateway.world.control.revoke(OWN, reason)
    assert (await gateway.invite()).exchange.header("Warning") == ['399 teletrunk "session-disconnected"']
    await inactive(gateway, report, reason)


async def test_account_inactive_is_noticed_without_a_call(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.revoke(OWN, "SESSION_REVOKED")
    await inactive(gateway, report, "SESSION_REVOKED")


async def test_storage_off(gateway: Gateway, report: Report) -> None:
    async with gateway.without("session-store"):
        report.carries(await gateway.register(), "storage-off", within=PROMPT_S)
    report.back(await gateway.back_in_service())
