"""Signalling of a call: in order, without a round trip for each packet, and never the end of a call that talks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pyrogram import raw
from teletrunk.v1 import session_store_pb2 as pb

from tests.sandbox.dc_world import Person

from .storage import CallStream, Storage, accept, phone_call

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEND = "phone.sendSignalingData"


async def talking(store: Storage) -> tuple[str, CallStream, Person, Any]:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = store.start_call(session_id, f"+{friend.phone}")
    requested = await friend.call(raw.types.PhoneCallRequested)
    await accept(friend, requested)
    await call.until("ready")
    return phone, call, friend, requested


def say(call: CallStream, *words: bytes) -> None:
    for word in words:
        call.ask(signalling=pb.SignallingData(data=word))


async def hears(friend: Person) -> bytes:
    return bytes((await friend.update(raw.types.UpdatePhoneCallSignalingData)).data)


async def test_packets_arrive_in_order_whenever_they_are_answered(store: Storage) -> None:
    phone, call, friend, requested = await talking(store)
    await store.control.delay(phone, 2, SEND)
    words = [bytes([number]) * 100 for number in range(40)]
    async with asyncio.timeout(2):
        say(call, *words)
        assert [await hears(friend) for _ in words] == words
    await friend.ask(raw.functions.phone.SendSignalingData(peer=phone_call(requested), data=b"answer"))
    assert (await call.until("signalling", within=1)).data == b"answer"
    call.ask(discard=pb.DiscardCall(reason=pb.DISCARD_REASON_HANGUP))
    await call.until("discarded", within=1)  # it waits for none of them


@pytest.mark.parametrize(("code", "error"), [(500, "INTERNAL_SERVER_ERROR"), (400, "DATA_INVALID"), (-503, "Timeout")])
async def test_a_packet_that_telegram_refuses_ends_no_call(store: Storage, code: int, error: str) -> None:
    phone, call, friend, _ = await talking(store)
    await store.control.error(phone, SEND, code, error)
    say(call, b"lost", b"here")
    assert await hears(friend) == b"here"
    call.ask(discard=pb.DiscardCall(reason=pb.DISCARD_REASON_HANGUP))
    await call.until("discarded")


async def test_packets_of_an_outage_are_sent_when_it_is_over(store: Storage) -> None:
    phone, call, friend, _ = await talking(store)
    await store.control.cut(phone, 1)
    async with asyncio.timeout(5):
        while await store.control.connections(phone):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # until the Storage has noticed
    say(call, b"one", b"two")
    assert [await hears(friend), await hears(friend)] == [b"one", b"two"]
    call.ask(discard=pb.DiscardCall(reason=pb.DISCARD_REASON_HANGUP))
    await call.until("discarded")
