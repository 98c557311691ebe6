"""An account's session that is taken away in a call: whoever talks is told at once, and why."""

from __future__ import annotations

import asyncio
import time

import pytest

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import SIP_HZ, TELEGRAM_HZ, place_call

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE_S = 5.0  # in a call a Storage asks Telegram every 2 s; the rest is for a machine that runs other tests too
QUIET_S = 6.0  # what is said to set a call up has been said by then


async def test_a_session_that_is_revoked_in_a_call(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await _is_told(scene, call)


async def test_a_session_that_is_revoked_in_a_call_from_telegram(scene: Scene) -> None:
    await scene.world.add_account(GATEWAY, "gateway")
    await scene.world.active(scene.account.account_id)
    await scene.phone.tell("behave", on_call="answer", play={"hz": SIP_HZ})
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    call = (await scene.phone.wait("incoming"))["call"]
    await scene.phone.wait("established", call=call)
    await _is_told(scene, call)


async def _is_told(scene: Scene, call: int) -> None:
    await asyncio.sleep(QUIET_S)
    revoked = time.time()
    await scene.world.control.revoke(GATEWAY, "SESSION_REVOKED")
    ended = await scene.phone.wait("ended", call=call)
    assert ended["at"] - revoked < AT_ONCE_S, f"{ended['at'] - revoked:.1f} s"
    assert ended["headers"]["Reason"][0] == 'SIP;cause=503;text="Telegram session is disconnected"'
    record = await scene.record()
    assert (record.ended_by, record.error_id) == ("gateway", "session-disconnected")
