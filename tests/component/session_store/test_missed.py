"""What Telegram says while the link or the Storage is away, and what gets lost on its way, is heard all the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pyrogram import raw
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from tests.cable import cable

from .storage import DISCONNECT, CallStream, Storage, accept, calls, hang_up, phone_call, storage

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUT_S = 4.0
SOON_S = 1.0  # from the end of the outage on
SLACK_S = 0.5
NOTICED_S = 17.0
AT_ONCE_S = 5.0


async def heard(arrived: asyncio.Queue[pb.IncomingCall], within: float = AT_ONCE_S) -> pb.IncomingCall:
    async with asyncio.timeout(within):
        return await arrived.get()


@contextlib.asynccontextmanager
async def away(store: Storage, phone: str) -> AsyncIterator[None]:
    """The link is cut; what is in the block happens meanwhile. Ends with the outage."""
    await store.control.cut(phone, CUT_S)
    over = time.monotonic() + CUT_S
    yield
    assert time.monotonic() < over
    await asyncio.sleep(over - time.monotonic())


async def rings(store: Storage, session_id: str, friend_phone: str) -> CallStream:
    call = store.start_call(session_id, f"+{friend_phone}")
    await call.until("requested")
    return call


async def test_an_answer_during_an_outage_is_known_once_it_is_over(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = await rings(store, session_id, friend.phone)
    requested = await friend.call(raw.types.PhoneCallRequested)
    async with away(store, phone):
        await accept(friend, requested)
    await call.until("ready", within=SOON_S + SLACK_S)
    await friend.call(raw.types.PhoneCall)
    call.ask(discard=pb.DiscardCall(reason=DISCONNECT))
    await store.discarded(phone, within=AT_ONCE_S)


@pytest.mark.parametrize("told", ["by the difference", "by the chat"])
async def test_a_hang_up_during_an_outage_is_known_once_it_is_over(store: Storage, told: str) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    call = await rings(store, session_id, friend.phone)
    requested = await friend.call(raw.types.PhoneCallRequested)
    await accept(friend, requested)
    await call.until("ready")
    await store.control.differences(told == "by the difference")
    try:
        async with away(store, phone):
            await hang_up(friend, requested)
        over = await call.until("discarded", within=SOON_S + SLACK_S)
    finally:
        await store.control.differences(True)
    assert over.by_peer and over.reason == pb.DISCARD_REASON_HANGUP


async def test_a_caller_who_gives_up_during_an_outage_rings_nobody(store: Storage) -> None:
    phone, session_id = await store.account()
    friend, other = await store.friend("Gone"), await store.friend("Here")
    async with store.watch(session_id) as arrived:
        async with away(store, phone):
            await hang_up(friend, await calls(friend, phone))
            await calls(other, phone)
        assert (await heard(arrived)).caller.first_name == "Here"
        assert arrived.empty()


@pytest.mark.parametrize("sign", ["the next call", "too long"])
async def test_a_call_that_gets_lost_on_its_way_is_fetched(store: Storage, sign: str) -> None:
    phone, session_id = await store.account()
    friend, other = await store.friend("Lost"), await store.friend("Next")
    async with store.watch(session_id) as arrived:
        await store.control.lose(phone)
        await calls(friend, phone)
        names = {"Lost"}
        if sign == "the next call":
            await calls(other, phone)
            names.add("Next")
        else:
            await store.control.too_long(phone)
        assert {(await heard(arrived)).caller.first_name for _ in names} == names
        assert (await friend.call(raw.types.PhoneCallWaiting)).receive_date


async def test_a_call_that_came_while_the_storage_was_away_is_heard_of(tmp_path: Path) -> None:
    """Those that wait still, and once each: the caller hears ringing, and a Worker that comes later can take it."""
    async with storage(tmp_path) as store:
        phone, session_id = await store.account()
        early, gone, friend = await store.friend("Early"), await store.friend("Gone"), await store.friend("Here")
        async with store.watch(session_id) as arrived:
            await calls(early, phone)
            turned_away = store.take(await heard(arrived))
            await turned_away.until("requested")
            turned_away.ask(discard=pb.DiscardCall(reason=pb.DISCARD_REASON_BUSY))
            await turned_away.until("discarded")
        await store.kill()
        await hang_up(gone, await calls(gone, phone))
        await calls(friend, phone)
        await store.start()
        assert (await friend.call(raw.types.PhoneCallWaiting)).receive_date
        async with store.watch(session_id) as arrived:
            incoming = await heard(arrived)
            assert incoming.caller.first_name == "Here"
            call = store.take(incoming)
            await call.until("requested")
            call.ask(accept=pb.AcceptCall())
            await friend.call(raw.types.PhoneCallAccepted)
            assert arrived.empty()
            call.ask(discard=pb.DiscardCall(reason=DISCONNECT))
            await call.until("discarded")
        assert "Traceback" not in store.said()


async def test_a_link_that_dies_silently_is_noticed_and_what_came_meanwhile_fetched(tmp_path: Path) -> None:
    async with cable(0) as link, storage(tmp_path, TELEGRAM=f"127.0.0.1:{link.port}") as store:
        link.to = store.dc["port"]
        phone, session_id = await store.account()
        friend = await store.friend()
        async with store.watch(session_id) as arrived:
            with link.cut():
                async with asyncio.timeout(NOTICED_S):
                    while getattr(await store.report(session_id), "state", 0) != manager_pb2.SESSION_STATE_CONNECTING:
                        await asyncio.sleep(0.1)
                await calls(friend, phone)
            assert (await heard(arrived, within=AT_ONCE_S)).caller.first_name == "Friend"
        assert await store.control.duplicates() == 0


async def test_what_is_told_twice_is_done_once(store: Storage) -> None:
    """The difference of what came just before the cut has it again."""
    phone, session_id = await store.account()
    friend, caller = await store.friend(), await store.friend("Caller")
    call = await rings(store, session_id, friend.phone)
    requested = await friend.call(raw.types.PhoneCallRequested)
    async with store.watch(session_id) as arrived:
        await calls(caller, phone)
        await accept(friend, requested)
        await call.until("ready")
        await heard(arrived)
        async with away(store, phone):
            pass
        await asyncio.sleep(SOON_S + SLACK_S)
        await store.active(session_id)
        later = await store.friend("Later")
        await calls(later, phone)
        assert (await heard(arrived)).caller.first_name == "Later"
    await friend.ask(raw.functions.phone.SendSignalingData(peer=phone_call(requested), data=b"still here"))
    assert (await call.until("signalling")).data == b"still here"
    call.ask(discard=pb.DiscardCall(reason=DISCONNECT))
    await call.until("discarded")
