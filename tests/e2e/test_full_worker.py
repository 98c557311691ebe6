"""A Worker that carries as many calls as it may is told to be full, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk_sandbox.world import World

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .test_doctor import diagnosis
from .test_hostile import call_up

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

HEARTBEATS_S = 20.0  # one would do


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("world")
    async with World(directory, TELETRUNK_MAX_CALLS="1") as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        yield Scene(world, account, trunk, await world.phone(trunk))


async def test_a_full_worker_is_told_to_be_full(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    async with sip_wire.udp(scene.edge, "127.0.13.1") as pbx:
        async with call_up(scene, pbx):
            second = (await pbx.invite(FRIEND, login, password)).final
            assert (second.code, second.phrase) == (503, "All lines of this Worker are busy")
            async with asyncio.timeout(HEARTBEATS_S):
                while not (now := await now_wrong(scene)):
                    await asyncio.sleep(0.2)
            assert now["worker-full"].startswith("the Worker ") and "is full: it carries 1 calls" in now["worker-full"]
            assert set(now) == {"worker-full"}, "nothing is restarting, or away"
            assert " full " in await scene.world.command("worker", "list")
        async with asyncio.timeout(HEARTBEATS_S):
            while await now_wrong(scene):
                await asyncio.sleep(0.2)


async def now_wrong(scene: Scene) -> dict[str, str]:
    """By row: what the doctor finds wrong at the moment; it says of each what to do."""
    found = [finding for finding in (await diagnosis(scene))["findings"] if not finding["past"]]
    assert all(finding["remedy"] for finding in found)
    return {finding["row"]: finding["text"] for finding in found}
