"""Rows that a Telegram caller reads in the chat: 24 to 26."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from teletrunk.errors import TABLE
from teletrunk_sandbox.actors import ActorError, Message

from tests import sip_wire

from .gateway import FRIEND, OWN, PROMPT_S, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
OTHER = "+79990000009"
NO_ANSWER_S = 40.0  # RFC 3261 gives a peer that says nothing 32 s


async def reads(gateway: Gateway, report: Report, row_id: str, caller: str = FRIEND, *, within: float) -> None:
    """A call to the gateway's account ends, and its caller reads why: code and phrase, then what to do."""
    people, row = gateway.world.subscribers, TABLE[row_id]
    began = time.monotonic()
    own = (await gateway.account(OWN)).user_id
    await people.tell("call", phone=caller, to="@gateway")
    try:
        message: Message = await people.wait("message", deadline=within, phone=caller, from_user_id=own)
    except ActorError:
        report.saw(row_id, "nothing", time.monotonic() - began)
        raise
    report.saw(row_id, message["text"].splitlines()[0], time.monotonic() - began)
    assert message["text"] == f"{row.sip_status} {row.phrase}\n{row.remedy}"
    ended = await people.wait("ended", phone=caller, by="peer")
    assert ended["reason"] == "busy"
    assert message["text"] in [kept["text"] for kept in (await people.tell("messages", phone=caller))["messages"]]


async def rings(gateway: Gateway) -> float:
    """Seconds until a call from Telegram rings at the PBX, which is busy."""
    began = time.monotonic()
    people = gateway.world.subscribers
    await people.tell("call", phone=FRIEND, to="@gateway")
    invite = await gateway.wire.next_request("INVITE")
    rang = time.monotonic() - began
    gateway.wire.answer(invite, 486, "Busy Here")
    assert (await people.wait("ended", phone=FRIEND, by="peer"))["reason"] == "busy"
    return rang


async def test_caller_is_gateway(gateway: Gateway, report: Report) -> None:
    await gateway.world.add_account(OTHER, "other")
    await gateway.world.subscribers.tell("user", phone=OTHER, first_name="Other", username="other")
    await reads(gateway, report, "caller-is-gateway", OTHER, within=PROMPT_S)
    report.back(await rings(gateway))


async def test_caller_not_allowed(gateway: Gateway, report: Report) -> None:
    await gateway.world.command("trunk", "change", gateway.trunk.login, "--blocked-callers", "@friend")
    try:
        await reads(gateway, report, "caller-not-allowed", within=PROMPT_S)
    finally:
        await gateway.world.command("trunk", "change", gateway.trunk.login, "--blocked-callers", "")
    report.back(await rings(gateway))


async def test_pbx_unreachable(gateway: Gateway, report: Report) -> None:
    assert (await gateway.register(Expires="0")).exchange.status == (200, "OK")
    await reads(gateway, report, "pbx-unreachable", within=PROMPT_S)
    async with asyncio.timeout(10):  # the record names the one trunk that there is, though nothing was rung
        told: list[str] = []
        while "pbx-unreachable" not in told[:1]:
            listed = await gateway.world.command("call", "list", "--trunk", gateway.trunk.login, "--json")
            told = [record.get("error_id", "") for record in json.loads(listed).get("calls", [])]
    await gateway.back_in_service()
    report.back(await rings(gateway))


async def test_pbx_unreachable_when_its_port_is_closed(gateway: Gateway, report: Report) -> None:
    assert (await gateway.register(Expires="0")).exchange.status == (200, "OK")
    async with sip_wire.udp(gateway.wire.server) as pbx:
        assert (await pbx.register(gateway.trunk.login, gateway.password)).status == (200, "OK")
    await reads(gateway, report, "pbx-unreachable", within=NO_ANSWER_S)
    await gateway.back_in_service()
    report.back(await rings(gateway))


async def test_worker_unavailable(gateway: Gateway, report: Report) -> None:
    async with gateway.without("worker"):
        await reads(gateway, report, "worker-unavailable", within=PROMPT_S)
    await gateway.back_in_service()
    report.back(await rings(gateway))


async def test_worker_unavailable_when_it_is_silent(gateway: Gateway, report: Report) -> None:
    with gateway.frozen("worker"):
        await reads(gateway, report, "worker-unavailable", within=20)
    await gateway.back_in_service()
    report.back(await rings(gateway))
