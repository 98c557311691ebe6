"""A machine whose clock is wrong: everybody is told that it is the clock, and what can work does."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.sandbox.dc_world import new_phone

from .storage import PATIENCE_S, Storage

pytestmark = pytest.mark.asyncio(loop_scope="module")
AHEAD = "this machine's clock is 45 s ahead of Telegram's"


async def said_of(store: Storage, session_id: str, reason: str) -> None:
    """Waits until the session is active and this is said of it."""
    async with asyncio.timeout(PATIENCE_S * 2):
        while True:
            report = await store.report(session_id)
            if report is not None and report.state == 2 and report.reason == reason:
                return
            await asyncio.sleep(0.1)


async def test_a_sign_in_names_the_clock(store: Storage) -> None:
    await store.control.clock(-45)
    phone = new_phone()
    await store.control.add_user(phone, "Gateway")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.begin(phone)
    assert AHEAD in str(caught.value.details())
    session_id = await store.sign_in(phone)  # by Telegram's own time now
    await said_of(store, session_id, AHEAD)
    await store.control.clock(0)
    await said_of(store, session_id, "")


async def call_works(store: Storage, phone: str, session_id: str, called: str) -> None:
    call = store.start_call(session_id, called)
    await call.until("requested")
    call.close()
    await store.discarded(phone, within=5)


@pytest.mark.parametrize(("ahead", "reason"), [(-45, AHEAD), (400, "this machine's clock is 400 s behind Telegram's")])
async def test_a_session_whose_clock_goes_wrong_names_it_and_works(store: Storage, ahead: int, reason: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.clock(ahead)
    await said_of(store, session_id, reason)
    await call_works(store, phone, session_id, f"+{friend.phone}")
    await store.control.clock(0)
    await said_of(store, session_id, "")


async def test_a_call_meets_a_clock_that_has_just_gone_wrong(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.clock(-45, reconnect=False)
    refusal = await store.start_call(session_id, f"+{friend.phone}").refusal(within=5)
    assert refusal.row.id == "session-disconnected"
    assert "clock" in refusal.detail or "for their time" in refusal.detail  # how much, only a fresh link tells
    await said_of(store, session_id, AHEAD)
    await call_works(store, phone, session_id, f"+{friend.phone}")
    await store.control.clock(0)
