"""Twenty registered PBXs and a call, and no Manager: nobody is banned, the call goes on, all is well afterwards.

A few seconds here; ten minutes by `make soak` (TELETRUNK_OUTAGE_S).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time

import pytest

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call, talk

OUTAGE_S = float(os.environ.get("TELETRUNK_OUTAGE_S", "8"))
PBXS = 20
ROUNDS = 8  # more failures than a ban needs

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(OUTAGE_S + 120)]


async def test_a_manager_that_is_away_costs_nobody_anything(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as sockets:
        pbxs = []
        for number in range(PBXS):
            added = await scene.world.add_trunk(GATEWAY)
            wire = await sockets.enter_async_context(sip_wire.udp(scene.edge, f"127.0.2.{number + 1}"))
            assert (await wire.register(added.trunk.login, added.password)).status == (200, "OK")
            pbxs.append((wire, added.trunk.login, added.password))
        call = await place_call(scene)
        await scene.phone.wait("established", call=call)
        await scene.world.stack.hold_down("manager")
        began = time.monotonic()
        for moment in range(ROUNDS):
            await asyncio.sleep(max(0.0, began + OUTAGE_S * moment / ROUNDS - time.monotonic()))
            for answer in await asyncio.gather(*(wire.register(login, password) for wire, login, password in pbxs)):
                assert answer.final.code == 503 and answer.header("Warning") == ['399 teletrunk "manager-unreachable"']
                assert int(answer.header("Retry-After")[0]) > 0
        await asyncio.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
        scene.world.stack.let_up("manager")
        for wire, login, password in pbxs:
            async with asyncio.timeout(20):
                while (answer := await wire.register(login, password)).final.code != 200:
                    assert answer.final.code in (503, 403) and "banned" not in answer.final.phrase
                    await asyncio.sleep(0.2)
        assert json.loads(await scene.world.command("ban", "list", "--json"))["bans"] == []
        await talk(scene, call)
        await scene.phone.tell("hangup", call=call)
        await scene.friends.wait("ended", phone=FRIEND, by="peer")
        record = await scene.record()
        assert record.sip_status == 200 and record.ended_at - record.answered_at >= OUTAGE_S
