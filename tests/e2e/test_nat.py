"""A Worker whose public address is a router's: calls with sound for the PBX beside it, and what one outside is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sipmessage import Request, Response
from teletrunk_sandbox.world import World

from tests import sip_wire

from .conftest import FRIEND, GATEWAY
from .test_ipv6 import HZ_THERE, RtpEnd, answered, be_called, call_telegram

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

PUBLIC = "203.0.113.7"
BESIDE, OUTSIDE = "127.0.0.1", "127.0.0.9"


def told(message: Request | Response, wire: sip_wire.SipWire) -> set[str]:
    """All addresses in it but the PBX's own and the session's name in its origin."""
    text = re.sub(r"(?m)^o=.*$", "", bytes(message).decode())
    return set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) - {wire.local[0]}


async def test_a_pbx_beside_the_worker_has_sound_and_one_outside_is_told_the_public_address(tmp_path: Path) -> None:
    settings = {"TELETRUNK_PUBLIC_ADDRESS": PUBLIC, "TELETRUNK_LOCAL_NETWORKS": "127.0.0.0/29"}
    async with World(tmp_path, **settings) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", play={"hz": HZ_THERE})
        port, login, password = (BESIDE, world.sip_port), trunk.trunk.login, trunk.password
        async with sip_wire.udp(port, BESIDE) as beside, sip_wire.udp(port, OUTSIDE) as outside:
            for wire in (beside, outside):
                assert (await wire.register(login, password)).final.code == 200
            assert PUBLIC not in told(await call_telegram(beside, login, password), beside)
            await world.record()
            asked, answer = await answered(outside, login, password, RtpEnd().sdp)
            assert f"c=IN IP4 {PUBLIC}".encode() in answer.body and f"<sip:{PUBLIC}:" in answer.headers["Contact"]
            assert (await outside.ask(outside.in_dialog("BYE", asked, answer))).final.code == 200
            await world.record()
            invite = await be_called(world, beside)
            assert PUBLIC not in told(invite, beside)
            rung = await outside.next_request("INVITE")
            assert f"@{PUBLIC}>" in rung.headers["From"]
            assert f"c=IN IP4 {PUBLIC}".encode() in rung.body
