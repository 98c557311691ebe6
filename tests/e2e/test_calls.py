"""Calls through the three services as real processes, judged by what is heard, said on the wire and stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from teletrunk.errors import TABLE

from tests.processes import hosts_of

from .conftest import FRIEND, GATEWAY, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SIP_HZ, TELEGRAM_HZ = 440.0, 620.0
TALK_S = 3.0


async def talk(scene: Scene, call: int) -> None:
    """Lets both play for a while and checks that each hears the other's tone."""
    await asyncio.sleep(TALK_S)  # the talking itself: there is no event to wait for
    here = await scene.phone.tell("heard", call=call)
    there = await scene.friends.tell("heard", phone=FRIEND)
    assert here["hz"] == pytest.approx(TELEGRAM_HZ, abs=6.0)
    assert there["hz"] == pytest.approx(SIP_HZ, abs=6.0)


async def place_call(scene: Scene, to: str = "@friend", **behaviour: Any) -> int:
    await scene.friends.tell("behave", phone=FRIEND, **{"on_call": "answer", "play": {"hz": TELEGRAM_HZ}, **behaviour})
    answer = await scene.phone.tell("call", to=to, play={"hz": SIP_HZ})
    return int(answer["call"])


@pytest.mark.parametrize("called", ["@friend", "tg#friend", FRIEND, FRIEND[1:]])
async def test_phone_calls_telegram_and_hangs_up(scene: Scene, called: str) -> None:
    call = await place_call(scene, called)
    assert (await scene.phone.wait("progress", call=call))["status"] == 180
    await scene.phone.wait("established", call=call)
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    assert (await scene.friends.wait("ended", phone=FRIEND, by="peer"))["reason"] == "hangup"
    record = await scene.record()
    assert record.sip_status == 200 and record.ended_by == "pbx" and record.telegram_reason == "hangup"
    assert {step.source for step in record.steps} >= {"pbx", "worker", "manager", "storage", "telegram"}


async def test_telegram_hangs_up(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await scene.friends.tell("hangup", phone=FRIEND)
    await scene.phone.wait("ended", call=call)
    assert (await scene.record()).ended_by == "telegram"


async def test_telegram_calls_the_phone(scene: Scene) -> None:
    await scene.phone.tell("behave", on_call="answer", play={"hz": SIP_HZ})
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    incoming = await scene.phone.wait("incoming")
    assert incoming["caller"].startswith('"Friend" <sip:')
    await scene.friends.wait("ringing", phone=FRIEND)
    await scene.friends.wait("connected", phone=FRIEND)
    await talk(scene, incoming["call"])
    await scene.phone.tell("hangup", call=incoming["call"])
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.ended_by, record.caller, record.called) == ("pbx", "@friend", GATEWAY)


async def test_an_account_cannot_call_itself(scene: Scene) -> None:
    call = int((await scene.phone.tell("call", to="@gateway"))["call"])
    ended = await scene.phone.wait("ended", call=call)
    assert ended["status"] == 404, ended
    record = await scene.record()
    assert (record.error_id, record.sip_status) == ("user-not-found", 404)
    assert [leg.name for leg in record.sip_legs] == ["a"] and record.sip_legs[0].sip_call_id


async def test_declined_is_486(scene: Scene) -> None:
    call = await place_call(scene, on_call="decline")
    ended = await scene.phone.wait("ended", call=call)
    assert (ended["status"], ended["phrase"]) == (486, "Busy Here")
    assert (await scene.record()).sip_status == 486


async def test_cancel_while_ringing_is_missed_at_telegram(scene: Scene) -> None:
    call = await place_call(scene, on_call="ring")
    await scene.phone.wait("progress", call=call)
    await scene.phone.tell("hangup", call=call)
    assert (await scene.phone.wait("ended", call=call))["status"] == 487
    ended = await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert ended["reason"] == "missed"
    assert (await scene.record()).telegram_reason == "missed"


async def test_nobody_answers(scene: Scene) -> None:
    await scene.world.control.timeouts(5, 2)
    try:
        call = await place_call(scene, on_call="ring")
        assert (await scene.phone.wait("ended", call=call))["status"] == 480
    finally:
        await scene.world.control.timeouts(20, 90)
    assert (await scene.friends.wait("ended", phone=FRIEND, by="peer"))["reason"] == "missed"
    await scene.record()


async def test_the_phone_is_busy(scene: Scene) -> None:
    await scene.phone.tell("behave", on_call="busy")
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    ended = await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert ended["reason"] == "busy"
    assert (await scene.record()).sip_status == 486


@pytest.mark.parametrize(
    ("called", "status", "row"),
    [("@nobodyhere", 404, "user-not-found"), ("0123456", 480, "no-confirmed-contact"), ("??", 404, "user-not-found")],
)
async def test_a_refusal_carries_its_row(scene: Scene, called: str, status: int, row: str) -> None:
    call = await place_call(scene, called)
    ended = await scene.phone.wait("ended", call=call)
    assert ended["status"] == status
    assert ended["phrase"].startswith(TABLE[row].phrase)


@pytest.mark.parametrize("kind", ["sip", "telegram"])
async def test_a_killed_host_ends_its_call_on_both_sides_and_the_next_call_works(scene: Scene, kind: str) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    for host in hosts_of(scene.world, kind):
        host.kill()
    await scene.phone.wait("ended", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    await scene.record()
    await _next_call_works(scene)


async def _next_call_works(scene: Scene) -> None:
    """Once the new host is there; a call that comes too early is refused, not lost."""
    async with asyncio.timeout(40):
        while True:
            call = await place_call(scene)
            try:
                await scene.phone.wait("established", call=call, deadline=4)
                break
            except Exception:
                await scene.phone.wait("ended", call=call)
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    await scene.record()


async def test_a_host_that_hangs_is_replaced(scene: Scene) -> None:
    """It lives and answers nothing: its call ends on both sides, and the next call works."""
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    for host in hosts_of(scene.world, "sip"):
        host.suspend()
    await scene.phone.wait("ended", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    await scene.record()
    await _next_call_works(scene)


async def test_the_manager_dies_the_call_goes_on_and_its_record_arrives_later(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    manager = scene.world.stack.children["manager"].process
    assert manager is not None
    manager.kill()
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert (await scene.record()).sip_status == 200
