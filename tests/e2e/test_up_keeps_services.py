"""What `teletrunk up` started comes back when it ends, whatever ended it; a drained Worker stays away."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk import running
from teletrunk.cli.parts import SERVICES

from .conftest import Scene
from .test_calls import place_call

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 40


async def terminated(scene: Scene, name: str) -> int:
    """Its exit code after SIGTERM, once another process has taken its place."""
    process = scene.world.stack.children[name].process
    assert process is not None
    process.terminate()
    status = await asyncio.wait_for(process.wait(), PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while scene.world.stack.children[name].process is process:
            await asyncio.sleep(0.05)
    return status


async def attached(scene: Scene, *kinds: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not {service.kind for service in await scene.world.stack.attached()} >= set(kinds):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_was_told_to_end_comes_back(scene: Scene, name: str) -> None:
    assert await terminated(scene, name) == 0
    await attached(scene, "worker", "storage")
    await scene.world.active(scene.account.account_id)
    await scene.register_again()
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await scene.phone.tell("hangup", call=call)
    assert (await scene.record()).sip_status == 200


async def test_a_drained_worker_stays_away(scene: Scene) -> None:
    process = scene.world.stack.children["worker"].process
    assert process is not None
    worker = next(service.id for service in await scene.world.stack.attached() if service.kind == "worker")
    await scene.world.command("worker", "drain", worker)
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == running.DRAINED
    assert await terminated(scene, "manager") == 0
    await attached(scene, "storage")  # by now the Worker would have been started too
    assert scene.world.stack.children["worker"].process is process
