"""Troubles on the way to Telegram, as the phone and the Telegram user notice them."""

from __future__ import annotations

import pytest

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import SIP_HZ, TELEGRAM_HZ, place_call, talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
LINK_CUT_S = 5.0
REQUEST_CALL = "phone.requestCall"


@pytest.mark.parametrize("attempt", range(3))
async def test_a_call_made_while_the_link_is_cut_reaches_the_phone(scene: Scene, attempt: int) -> None:
    await scene.phone.tell("behave", on_call="answer", play={"hz": SIP_HZ})
    await scene.world.control.cut(GATEWAY, LINK_CUT_S)
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    incoming = await scene.phone.wait("incoming", deadline=LINK_CUT_S + 7)
    await scene.friends.wait("ringing", phone=FRIEND)  # Telegram hears that it is received before it is accepted
    await scene.friends.wait("connected", phone=FRIEND)
    await talk(scene, incoming["call"])
    await scene.friends.tell("hangup", phone=FRIEND)
    await scene.friends.wait("ended", phone=FRIEND)
    await scene.phone.wait("ended", call=incoming["call"])
    await scene.record()


async def test_a_call_made_while_the_storage_is_away_reaches_the_phone(scene: Scene) -> None:
    await scene.phone.tell("behave", on_call="answer", play={"hz": SIP_HZ})
    await scene.kill("session-store")
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    incoming = await scene.phone.wait("incoming", deadline=15)
    await scene.friends.wait("connected", phone=FRIEND)
    await talk(scene, incoming["call"])
    await scene.friends.tell("hangup", phone=FRIEND)
    await scene.friends.wait("ended", phone=FRIEND)
    await scene.phone.wait("ended", call=incoming["call"])
    await scene.record()


async def test_a_caller_who_hangs_up_before_telegram_has_answered_leaves_nobody_ringing(scene: Scene) -> None:
    await scene.world.control.delay(GATEWAY, 3600, REQUEST_CALL)
    try:
        call = await place_call(scene, on_call="ring")
        await scene.friends.wait("incoming", phone=FRIEND)
        await scene.phone.tell("hangup", call=call)
        assert (await scene.friends.wait("ended", phone=FRIEND, by="peer", deadline=5))["reason"] == "missed"
        assert (await scene.phone.wait("ended", call=call))["status"] == 487
    finally:
        await scene.world.control.delay(GATEWAY, 0, REQUEST_CALL)
    assert (await scene.record()).sip_status == 487


async def test_an_answer_that_telegram_confirms_otherwise_is_told_in_its_words(scene: Scene) -> None:
    await scene.world.control.answer(GATEWAY, "phone.confirmCall", "phoneCallEmpty")
    call = await place_call(scene)
    ended = await scene.phone.wait("ended", call=call)
    assert (ended["status"], ended["phrase"]) == (500, "Telegram error: phoneCallEmpty")
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert (await scene.record()).error_id == "telegram-error"
