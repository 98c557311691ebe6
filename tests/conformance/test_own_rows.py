"""Rows of our own, which the product's page does not name: each on the wire, from its real condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sipmessage import Request
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.e2e.test_doctor import diagnosis
from tests.processes import hosts_of

from .gateway import FRIEND, PROMPT_S, Answer, Gateway, Report

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

HEARTBEATS_S = 20.0  # one takes three seconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Its Worker carries one call at a time."""
    directory: Path = tmp_path_factory.mktemp("gateway")
    async with (
        World(directory, TELETRUNK_MAX_CALLS="1") as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        furnished = Gateway(world, wire)
        await furnished.furnish()
        yield furnished


async def challenged(gateway: Gateway, method: str = "INVITE") -> Request:
    """A request with good credentials, not sent yet."""
    login, user = gateway.trunk.login, FRIEND if method == "INVITE" else ""
    first = gateway.wire.request(method, user, login)
    return gateway.wire.answer_challenge(first, (await gateway.wire.ask(first)).final, login, gateway.password)


async def ask(gateway: Gateway, request: Request) -> Answer:
    began = time.monotonic()
    return Answer(await gateway.wire.ask(request), time.monotonic() - began)


@pytest.mark.parametrize(
    ("method", "name", "value", "detail"),
    [
        ("REGISTER", "Expires", "soon", ": Expires is no number"),
        ("INVITE", "Session-Expires", "abc", ": Session-Expires is no number"),
        ("REGISTER", "Contact", "<sip:a@b>, *", ": Contact: URI cannot be read"),
    ],
)
async def test_bad_request(gateway: Gateway, report: Report, method: str, name: str, value: str, detail: str) -> None:
    request = await challenged(gateway, method)
    request.headers.set(name, value)
    report.carries(await ask(gateway, request), "bad-request", detail, within=PROMPT_S)


async def test_message_too_large(gateway: Gateway, report: Report) -> None:
    invite = await challenged(gateway)
    invite.headers.set("X-Padding", "x" * 4_000)
    report.carries(await ask(gateway, invite), "message-too-large", within=PROMPT_S)


async def test_no_common_codec(gateway: Gateway, report: Report) -> None:
    invite = await challenged(gateway)
    invite.body = invite.body.replace(b"RTP/AVP 8 101", b"RTP/AVP 18 3 101")
    invite.headers.set("Content-Length", str(len(invite.body)))
    detail = ": offered G729, GSM; this trunk has PCMA, PCMU, G722"
    report.carries(await ask(gateway, invite), "no-common-codec", detail, within=PROMPT_S)


async def test_worker_full(gateway: Gateway, report: Report) -> None:
    """And the doctor names it: it is neither away nor restarting."""
    await gateway.world.subscribers.tell("behave", phone=FRIEND, on_call="ring")
    first = await challenged(gateway)
    ringing = asyncio.ensure_future(gateway.wire.ask(first))
    await asyncio.sleep(0)  # it is on the wire, before the next one
    report.carries(await gateway.invite(), "worker-full", within=PROMPT_S)
    async with asyncio.timeout(HEARTBEATS_S):
        while not (wrong := await wrong_now(gateway)):
            await asyncio.sleep(0.2)
    assert wrong.keys() == {"worker-full"} and wrong["worker-full"].endswith(" is full: it carries 1 of 1 calls")
    assert " full " in await gateway.world.command("worker", "list")
    gateway.wire.cancel(first)
    assert (await ringing).final.code == 487
    await gateway.world.subscribers.tell("behave", phone=FRIEND, on_call="decline")
    async with asyncio.timeout(HEARTBEATS_S):
        while await wrong_now(gateway):
            await asyncio.sleep(0.2)


async def wrong_now(gateway: Gateway) -> dict[str, str]:
    """By row: what the doctor finds wrong at the moment. It says of each what to do."""
    found = [finding for finding in (await diagnosis(gateway.world))["findings"] if not finding["past"]]
    assert all(finding["remedy"] for finding in found)
    return {finding["row"]: finding["text"] for finding in found}


async def test_media_failed(gateway: Gateway, report: Report) -> None:
    """A SIP host that hangs takes no call, and the PBX is not left without an answer."""
    hosts = hosts_of(gateway.world, "sip")
    invite = await challenged(gateway)
    for host in hosts:
        host.suspend()
    began = time.monotonic()
    answer = Answer(await gateway.wire.ask(invite, patience=10), time.monotonic() - began)
    report.carries(answer, "media-failed", ": SIP host did not take the call", within=6)
    for host in hosts:
        host.resume()
    report.back(await gateway.back_in_service())
