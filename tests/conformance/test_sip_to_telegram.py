"""Rows of a call from a PBX that Telegram, or the call's own terms, refuse: 13 to 18."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from .gateway import FRIEND, OWN, PROMPT_S, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
STRANGER, HIDDEN = "+79990000404", "+79990000003"
REQUEST_CALL = "phone.requestCall"
TELEGRAM_SILENCE_S = 12.0  # the Storage gives Telegram ten seconds for a request


async def test_privacy_restricted(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.privacy(FRIEND, calls="nobody")
    try:
        report.carries(await gateway.invite(), "privacy-restricted", within=PROMPT_S)
    finally:
        await gateway.world.control.privacy(FRIEND, calls="all")
    report.back(await gateway.back_in_service())


async def test_privacy_restricted_by_a_block(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.block(FRIEND, OWN)
    try:
        report.carries(await gateway.invite(), "privacy-restricted", within=PROMPT_S)
    finally:
        await gateway.world.control.block(FRIEND, OWN, on=False)
    report.back(await gateway.back_in_service())


@pytest.mark.parametrize("called", ["@nobodyhere", STRANGER, STRANGER[1:]])
async def test_user_not_found(gateway: Gateway, report: Report, called: str) -> None:
    report.carries(await gateway.invite(called), "user-not-found", within=PROMPT_S)


async def test_user_not_found_when_the_number_is_hidden(gateway: Gateway, report: Report) -> None:
    await gateway.world.control.add_user(HIDDEN, "Hidden", username="hidden")
    await gateway.world.control.privacy(HIDDEN, found_by_phone="nobody")
    report.carries(await gateway.invite(HIDDEN), "user-not-found", within=PROMPT_S)


async def test_user_not_found_when_nothing_was_named(gateway: Gateway, report: Report) -> None:
    answer = await gateway.invite("not%20a%20number")
    report.carries(answer, "user-not-found", ": not a phone, @username or user id", within=PROMPT_S)


async def test_number_not_allowed(gateway: Gateway, report: Report) -> None:
    login = gateway.trunk.login
    await gateway.world.command("trunk", "change", login, "--dial-rule", "^00=+", "--dial-rule", r"^\+49")
    try:
        answer = await gateway.invite(f"00{FRIEND[1:]}")
        report.carries(answer, "number-not-allowed", ": dial rule 2 does not match", within=PROMPT_S)
    finally:
        await gateway.world.command("trunk", "change", login, "--dial-rule", "")
    report.back(await gateway.back_in_service())


async def test_not_registered(gateway: Gateway, report: Report) -> None:
    assert (await gateway.register(Expires="0")).exchange.status == (200, "OK")
    report.carries(await gateway.invite(), "not-registered", within=PROMPT_S)
    report.back(await gateway.back_in_service())


@contextlib.asynccontextmanager
async def late(gateway: Gateway, method: str) -> AsyncIterator[None]:
    """Telegram does what is asked, and does not say so."""
    await gateway.world.control.delay(OWN, 3600, method)
    try:
        yield
    finally:
        await gateway.world.control.delay(OWN, 0, method)


async def test_telegram_timeout(gateway: Gateway, report: Report) -> None:
    async with late(gateway, REQUEST_CALL):
        report.carries(await gateway.invite(), "telegram-timeout", within=TELEGRAM_SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_telegram_timeout_of_a_look_up(gateway: Gateway, report: Report) -> None:
    async with late(gateway, "contacts.resolveUsername"):
        report.carries(await gateway.invite("@friendly"), "telegram-timeout", within=TELEGRAM_SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_no_confirmed_contact(gateway: Gateway, report: Report) -> None:
    report.carries(await gateway.invite("0123456"), "no-confirmed-contact", within=PROMPT_S)


@pytest.mark.parametrize("message", ["USER_ID_INVALID", "PEER_ID_INVALID"])
async def test_no_confirmed_contact_in_telegrams_words(gateway: Gateway, report: Report, message: str) -> None:
    await gateway.world.control.error(OWN, REQUEST_CALL, 400, message)
    report.carries(await gateway.invite(), "no-confirmed-contact", within=PROMPT_S)


@pytest.mark.parametrize("message", ["CALL_PROTOCOL_FLAGS_INVALID", "PARTICIPANT_VERSION_OUTDATED"])
async def test_telegram_error(gateway: Gateway, report: Report, message: str) -> None:
    await gateway.world.control.error(OWN, REQUEST_CALL, 400, message)
    report.carries(await gateway.invite(), "telegram-error", f": {message}", within=PROMPT_S)
    report.back(await gateway.back_in_service())


@pytest.mark.parametrize("message", ["CALL_OCCUPY_FAILED", "A_WORD_NOBODY_KNOWS"])
async def test_telegram_error_of_its_own_making(gateway: Gateway, report: Report, message: str) -> None:
    await gateway.world.control.error(OWN, REQUEST_CALL, 500, message)
    report.carries(await gateway.invite(), "telegram-error", f": {message}", within=PROMPT_S)
    report.back(await gateway.back_in_service())
