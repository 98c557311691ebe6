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
