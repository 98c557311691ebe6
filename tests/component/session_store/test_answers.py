"""Answers of Telegram that nobody expects: each is a row with Telegram's own word, and nothing is left open there."""

from __future__ import annotations

import json

import pytest
from pyrogram import raw
from teletrunk.v1 import session_store_pb2 as pb

from .storage import CallStream, Storage, accept, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
DISCARDED = "phoneCallDiscarded (phoneCallDiscardReasonBusy)"


@pytest.mark.parametrize(
    ("method", "answer", "word"),
    [
        ("phone.requestCall", "phoneCallDiscarded", DISCARDED),
        ("phone.requestCall", "phoneCallEmpty", "phoneCallEmpty"),
        ("phone.requestCall", "updates", "updates"),
        ("messages.getDhConfig", "dhConfigNotModified", "messages.dhConfigNotModified"),
        ("contacts.resolvePhone", "updates", "updates"),
    ],
)
async def test_a_call_is_begun(store: Storage, method: str, answer: str, word: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.answer(phone, method, answer)
    refusal = await store.start_call(session_id, f"+{friend.phone}").refusal()
    assert (refusal.row.id, refusal.detail) == ("telegram-error", word)
    call = store.start_call(session_id, f"+{friend.phone}")  # the next one is not the worse for it
    await call.until("requested")
    call.close()


@pytest.mark.parametrize(("answer", "word"), [("phoneCallDiscarded", DISCARDED), ("phoneCallEmpty", "phoneCallEmpty")])
async def test_a_call_is_confirmed(store: Storage, answer: str, word: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.answer(phone, "phone.confirmCall", answer)
    call = store.start_call(session_id, f"+{friend.phone}")
    requested = await friend.call(raw.types.PhoneCallRequested)
    await accept(friend, requested)
    refusal = await call.refusal()
    assert (refusal.row.id, refusal.detail) == ("telegram-error", word)
    await store.discarded(phone, within=5)


async def test_each_line_of_a_call_says_whose_it_is(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    start = pb.StartCall(session_id=session_id, call_id="out", called="+1", account_id="a1", trunk_id="t1")
    await CallStream(store.stub, start=start).refusal()
    async with store.watch(session_id) as arrived:
        await calls(friend, phone)
        phone_call_id = (await arrived.get()).phone_call_id
        take = pb.TakeCall(session_id=session_id, call_id="in", phone_call_id=phone_call_id, account_id="a1")
        call = CallStream(store.stub, take=take)
        await call.until("requested")
        call.ask(accept=pb.AcceptCall(trunk_id="t2"))
        call.ask(discard=pb.DiscardCall(reason=pb.DISCARD_REASON_HANGUP))
        await call.until("discarded")
    lines = [json.loads(line) for line in store.said().splitlines() if '"call_id"' in line]
    told = {(line["call_id"], line["event"]): (line.get("account_id", ""), line.get("trunk_id", "")) for line in lines}
    assert told["out", "call refused"] == ("a1", "t1")
    assert told["in", "call taken"] == ("a1", ""), "which trunk is rung is decided later"
    assert told["in", "call discarded"] == ("a1", "t2")


@pytest.mark.parametrize("error", ["CALL_PROTOCOL_COMPAT_LAYER_INVALID", ""])
async def test_a_call_is_accepted(store: Storage, error: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    if error:
        await store.control.error(phone, "phone.acceptCall", 406, error)
    else:
        await store.control.answer(phone, "phone.acceptCall", "phoneCallDiscarded")
    async with store.watch(session_id) as arrived:
        await calls(friend, phone)
        call = store.take(await arrived.get())
        await call.until("requested")
        call.ask(accept=pb.AcceptCall())
        refusal = await call.refusal()
    assert (refusal.row.id, refusal.detail) == ("telegram-error", error or DISCARDED)
    await store.discarded(phone, within=5)


@pytest.mark.parametrize(
    ("code", "error", "row", "detail"),
    [
        (-503, "Timeout", "telegram-timeout", ""),
        (303, "USER_MIGRATE_4", "telegram-error", "USER_MIGRATE_4"),
        (500, "INTERNAL_SERVER_ERROR", "telegram-error", "INTERNAL_SERVER_ERROR"),
    ],
)
async def test_an_error_that_is_not_the_calls(store: Storage, code: int, error: str, row: str, detail: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.error(phone, "phone.requestCall", code, error)
    refusal = await store.start_call(session_id, f"+{friend.phone}").refusal()
    assert (refusal.row.id, refusal.detail) == (row, detail)
