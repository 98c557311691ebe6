"""The Worker's disk fills up while a call is up."""

from __future__ import annotations

import asyncio
import resource

import pytest
from teletrunk.v1 import admin_pb2

from tests import sip_wire

from .conftest import FRIEND, Scene
from .test_calls import place_call, talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def test_the_record_of_a_call_outlives_a_full_disk_and_a_restart(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    process = scene.world.stack.children["worker"].process
    assert process is not None
    # From here on each of its writes to a file fails, as on a disk without room.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.sip_status, record.ended_by) == (200, "pbx")

    await scene.kill("worker")
    await scene.register_again()
    login, password = scene.trunk.trunk.login, scene.trunk.password
    async with sip_wire.udp(scene.edge) as wire, asyncio.timeout(40):
        while (await wire.invite("@nobody_there", login, password)).final.code == 503:  # it has just started
            await asyncio.sleep(0.1)
    await scene.record()  # it comes after all that the Worker found on its disk
    answer = await scene.world.admin.GetCall(admin_pb2.GetCallRequest(call_id=record.call_id), timeout=5)
    assert answer.record == record
