"""baresip, which shares no line of code with us, as the PBX: over UDP and over TCP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_sandbox import baresip_phone
from teletrunk_sandbox.actors import Actor

from .conftest import FRIEND, GATEWAY, Scene

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not baresip_phone.installed() and "TELETRUNK_CI" not in os.environ, reason="baresip-core is not installed"
    ),
]

SIP_HZ, TELEGRAM_HZ = 440.0, 620.0
TALK_S = 4.0
LONGEST_TALK = 8  # times that: delay that a busy machine has caused is worked off sample by sample meanwhile
CLEAN_DB = 20  # of the median window of the whole call; 36 undisturbed


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["udp", "tcp"])
async def baresip(scene: Scene, request) -> AsyncIterator[Actor]:  # type: ignore[no-untyped-def]
    trunk = await scene.world.add_trunk(GATEWAY)
    await scene.only_trunk(trunk)
    yield await scene.world.phone(trunk, transport=request.param, kind="baresip-phone")


async def talk(scene: Scene, phone: Actor, call: int) -> None:
    for _ in range(LONGEST_TALK):
        await asyncio.sleep(TALK_S)  # the talking itself: there is no event to wait for
        here = await phone.tell("heard", call=call)
        there = await scene.friends.tell("heard", phone=FRIEND)
        if min(here["snr_db"], there["snr_db"]) > CLEAN_DB:
            break
    assert here["hz"] == pytest.approx(TELEGRAM_HZ, abs=6.0)
    assert there["hz"] == pytest.approx(SIP_HZ, abs=6.0)
    assert min(here["snr_db"], there["snr_db"]) > CLEAN_DB


async def test_it_calls_telegram(scene: Scene, baresip: Actor) -> None:
    await scene.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": TELEGRAM_HZ})
    call = (await baresip.tell("call", to="@friend"))["call"]
    await baresip.wait("progress", call=call)
    await baresip.wait("established", call=call)
    await talk(scene, baresip, call)
    await baresip.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert (await scene.record()).ended_by == "pbx"


async def test_telegram_calls_it(scene: Scene, baresip: Actor) -> None:
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    call = (await baresip.wait("incoming"))["call"]
    await scene.friends.wait("connected", phone=FRIEND)
    await talk(scene, baresip, call)
    await scene.friends.tell("hangup", phone=FRIEND)
    await baresip.wait("ended", call=call)
    assert (await scene.record()).ended_by == "telegram"


async def test_declined_is_486(scene: Scene, baresip: Actor) -> None:
    await scene.friends.tell("behave", phone=FRIEND, on_call="decline")
    call = (await baresip.tell("call", to="@friend"))["call"]
    assert (await baresip.wait("ended", call=call))["status"] == 486
    assert (await scene.record()).sip_status == 486
