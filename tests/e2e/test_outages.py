"""A service is killed while a call is up; it comes back, and the next call works."""

from __future__ import annotations

import pytest
from teletrunk.errors import TABLE

from .conftest import FRIEND, Scene
from .test_calls import place_call, talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def next_call_works(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert (await scene.record()).sip_status == 200


async def test_the_storage_dies_the_call_ends_on_both_sides_and_the_next_works(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await scene.kill("session-store")
    await scene.phone.wait("ended", call=call)
    # The new Storage finds the call that its predecessor left behind, and discards it at Telegram.
    await scene.friends.wait("ended", phone=FRIEND, by="peer", deadline=60)
    record = await scene.record()
    assert (record.sip_status, record.error_id) == (200, "storage-unreachable")
    await scene.world.active(scene.account.account_id)
    await next_call_works(scene)


async def test_the_worker_dies_telegram_is_hung_up_and_the_record_is_written_by_its_successor(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await talk(scene, call)  # the journals are on a disk: that it was answered is there some time after
    await scene.kill("worker")
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.ended_by, record.error_id) == ("gateway", TABLE["worker-restarting"].id)
    assert record.answered_at > 0 and record.ended_at >= record.answered_at
    await scene.phone.wait("ended", call=call)  # its successor knows the dialog, too
    await scene.register_again()
    await next_call_works(scene)
