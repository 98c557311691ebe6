"""A session that ends, for whatever reason, tells its calls."""

from __future__ import annotations

import pytest
from pyrogram import raw
from teletrunk.v1 import session_store_pb2 as pb

from .storage import Storage, accept

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT_ONCE_S = 5.0


async def test_an_account_that_is_removed_hangs_up(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = store.start_call(session_id, f"+{friend.phone}")
    await accept(friend, await friend.call(raw.types.PhoneCallRequested))
    await call.until("ready")
    await store.stub.RemoveSession(pb.RemoveSessionRequest(session_id=session_id), timeout=AT_ONCE_S)
    assert (await call.refusal(within=AT_ONCE_S)).row.id == "session-disconnected"
    assert (await store.discarded(phone, within=AT_ONCE_S))["reason"] == "disconnect"
    assert isinstance((await friend.call(raw.types.PhoneCallDiscarded)).id, int)


async def test_a_quiet_call_hears_of_a_session_that_was_revoked(store: Storage) -> None:
    """Telegram does not say so, and neither side has anything to ask."""
    phone, session_id = await store.account()
    friend = await store.friend()
    call = store.start_call(session_id, f"+{friend.phone}")
    await accept(friend, await friend.call(raw.types.PhoneCallRequested))
    await call.until("ready")
    await store.control.revoke(phone)
    assert (await call.refusal(within=AT_ONCE_S)).row.id == "session-disconnected"


@pytest.mark.parametrize("how", ["revoked", "key forgotten"])
async def test_an_authorization_that_is_taken_away_ends_its_calls(store: Storage, how: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = store.start_call(session_id, f"+{friend.phone}")
    await accept(friend, await friend.call(raw.types.PhoneCallRequested))
    await call.until("ready")
    if how == "revoked":
        await store.control.revoke(phone)
        call.ask(signalling=pb.SignallingData(data=b"one more"))  # whose answer tells
    else:
        await store.control.forget_key(phone)
    assert (await call.refusal(within=20)).row.id == "session-disconnected"


async def test_a_request_that_waits_when_the_authorization_is_taken_away(store: Storage) -> None:
    """Another question's answer tells. The library gives up what waits, as it does at its own timeout."""
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.delay(phone, 60, "phone.requestCall")
    await store.control.trace(phone, True)
    call = store.start_call(session_id, f"+{friend.phone}")
    await store.asked(phone, "phone.requestCall")
    await store.control.revoke(phone)
    refusal = await call.refusal(within=AT_ONCE_S)
    assert (refusal.row.id, refusal.detail) == ("session-disconnected", "AUTH_KEY_UNREGISTERED")
