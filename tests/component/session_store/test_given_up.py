"""A call to Telegram that somebody gives up, at whatever point: nobody's phone rings on for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from pyrogram import raw
from teletrunk import rpc
from teletrunk.v1 import session_store_pb2 as pb

from .storage import MISSED, PATIENCE_S, Storage, phone_call, storage

pytestmark = pytest.mark.asyncio(loop_scope="module")
REQUEST_CALL, RESOLVE = "phone.requestCall", "contacts.resolvePhone"
SOON_S = 5.0


async def test_the_worker_goes_while_telegram_is_asked(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.trace(phone, True)
    await store.control.delay(phone, 1.5, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    await store.asked(phone, REQUEST_CALL)
    call.close()
    assert (await store.discarded(phone, within=1.5 + SOON_S))["reason"] == "missed"


async def test_the_caller_hangs_up_while_telegram_is_asked(store: Storage) -> None:
    """The Worker hears at once that it is over, and Telegram as soon as there is a call to speak of."""
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.trace(phone, True)
    await store.control.delay(phone, 7, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    await store.asked(phone, REQUEST_CALL)
    call.ask(discard=pb.DiscardCall(reason=MISSED))
    assert (await call.until("discarded", within=SOON_S)).reason == MISSED
    await store.discarded(phone, within=7 + SOON_S)


async def test_telegram_answers_after_the_deadline(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.delay(phone, 11.5, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    assert (await call.refusal()).row.id == "telegram-timeout"
    await store.discarded(phone, within=1.5 + SOON_S)


@pytest.mark.parametrize("first", ["update", "end"])
async def test_the_answer_never_comes_but_an_update_does(store: Storage, first: str) -> None:
    """The callee's phone rings: that update names the call, whether it comes before it is given up or after."""
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.trace(phone, True)
    await store.control.delay(phone, 3600, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    requested = await friend.call(raw.types.PhoneCallRequested)
    received = raw.functions.phone.ReceivedCall(peer=phone_call(requested))
    if first == "update":
        await friend.ask(received)
    call.close()
    if first == "end":
        async with asyncio.timeout(SOON_S):
            while f'{{"session": "{session_id}", "event": "call given up' not in store.said():
                await asyncio.sleep(0.02)
        await friend.ask(received)
    await store.discarded(phone, within=SOON_S)
    assert isinstance((await friend.call(raw.types.PhoneCallDiscarded)).reason, raw.types.PhoneCallDiscardReasonMissed)


async def test_another_call_to_the_same_person_is_not_mistaken_for_it(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.trace(phone, True)
    await store.control.delay(phone, 3600, REQUEST_CALL)
    given_up = store.start_call(session_id, f"+{friend.phone}")
    first = await friend.call(raw.types.PhoneCallRequested)
    given_up.close()
    await store.control.delay(phone, 0, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    mine = (await call.until("requested")).phone_call_id
    second = await friend.call(raw.types.PhoneCallRequested)
    assert second.id == mine != first.id
    for each in (second, first):
        await friend.ask(raw.functions.phone.ReceivedCall(peer=phone_call(each)))
    await call.until("ringing")
    async with asyncio.timeout(SOON_S):
        while {each["id"]: each["state"] for each in await store.calls_of(phone)}[first.id] != "discarded":
            await asyncio.sleep(0.02)
    assert {each["id"]: each["state"] for each in await store.calls_of(phone)}[mine] == "requested"
    call.ask(discard=pb.DiscardCall(reason=MISSED))
    await call.until("discarded")


async def test_the_worker_goes_while_the_number_is_looked_up(store: Storage) -> None:
    phone, session_id = await store.account()
    friend, other = await store.friend(), await store.friend("Other")
    await store.control.trace(phone, True)
    await store.control.delay(phone, 1, RESOLVE)
    call = store.start_call(session_id, f"+{friend.phone}")
    await store.asked(phone, RESOLVE)
    call.close()
    later = store.start_call(session_id, f"+{other.phone}")  # its own look-up is answered after the first one's
    await later.until("requested")
    assert [each["participant"] for each in await store.calls_of(phone)] == [other.phone]
    later.close()


async def test_the_storage_stops_while_telegram_is_asked(tmp_path: Path) -> None:
    async with storage(tmp_path) as store:
        phone, session_id = await store.account()
        friend = await store.friend()
        await store.control.trace(phone, True)
        await store.control.delay(phone, 1.5, REQUEST_CALL)
        store.start_call(session_id, f"+{friend.phone}")
        await store.asked(phone, REQUEST_CALL)
        await store.child.stop()
        assert [call["state"] for call in await store.calls_of(phone)] == ["discarded"]


async def test_the_vault_fails_while_telegram_is_asked(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.trace(phone, True)
    await store.control.delay(phone, 1, REQUEST_CALL)
    call = store.start_call(session_id, f"+{friend.phone}")
    await store.asked(phone, REQUEST_CALL)
    with store.vault_locked():
        await call.until("requested", within=10)
    call.ask(discard=pb.DiscardCall(reason=MISSED))
    await call.until("discarded")
    await store.discarded(phone, within=SOON_S)


async def test_what_could_not_be_said_while_the_link_was_cut_is_said_afterwards(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = store.start_call(session_id, f"+{friend.phone}")
    await call.until("requested")
    await store.control.cut(phone, 3)
    call.ask(discard=pb.DiscardCall(reason=MISSED))
    await call.until("discarded")
    await store.discarded(phone, within=15)


@pytest.mark.parametrize("rang", ["before", "meanwhile", "afterwards"])
@pytest.mark.parametrize("given_up", [False, True])
async def test_the_storage_is_killed_while_telegram_is_asked(tmp_path: Path, rang: str, given_up: bool) -> None:
    """Its successor discards the call as soon as it hears of it: when the callee's phone has begun to ring."""
    async with storage(tmp_path) as store:
        phone, session_id = await store.account()
        friend = await store.friend()
        await store.control.delay(phone, 3600, REQUEST_CALL)
        call = store.start_call(session_id, f"+{friend.phone}")
        received = raw.functions.phone.ReceivedCall(peer=phone_call(await friend.call(raw.types.PhoneCallRequested)))
        if given_up:
            call.close()
        if rang == "before" and not given_up:
            await friend.ask(received)
        await store.kill()
        if rang == "meanwhile" or (rang == "before" and given_up):
            await friend.ask(received)
        await store.start()
        if rang == "afterwards":
            await store.active(session_id)
            await friend.ask(received)
        assert (await store.discarded(phone, within=10))["reason"] == "missed"
        ended = await friend.call(raw.types.PhoneCallDiscarded)
        assert isinstance(ended.reason, raw.types.PhoneCallDiscardReasonMissed)
        async with asyncio.timeout(SOON_S):
            while store.rows("call_requests") or store.rows("live_calls"):
                await asyncio.sleep(0.02)


async def test_what_a_request_left_is_forgotten_once_telegram_has_said_no(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.error(phone, REQUEST_CALL, 403, "USER_PRIVACY_RESTRICTED")
    assert (await store.start_call(session_id, f"+{friend.phone}").refusal()).row.id == "privacy-restricted"
    call = store.start_call(session_id, f"+{friend.phone}")
    await call.until("requested")
    async with asyncio.timeout(SOON_S):
        while [row for row in store.rows("call_requests") if row[0] == session_id]:
            await asyncio.sleep(0.02)
    assert len([row for row in store.rows("live_calls") if row[0] == session_id]) == 1
    call.ask(discard=pb.DiscardCall(reason=MISSED))
    await call.until("discarded")
    async with asyncio.timeout(SOON_S):
        while [row for row in store.rows("live_calls") if row[0] == session_id]:
            await asyncio.sleep(0.02)


async def test_a_stream_that_begins_no_call_is_ended(store: Storage) -> None:
    """Places are few: who holds one says at once what for."""

    async def nothing() -> AsyncIterator[pb.CallRequest]:
        await asyncio.Event().wait()
        yield pb.CallRequest()

    stream = store.stub.Call(nothing())
    async with asyncio.timeout(rpc.DEADLINE_S + PATIENCE_S):
        assert await stream.read() is grpc.aio.EOF
