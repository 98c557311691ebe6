"""What a Storage makes of a call that reaches one of its accounts: at once, whatever else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import grpc
import pytest
from pyrogram import raw
from teletrunk import rpc
from teletrunk.destinations import destination_of
from teletrunk.errors import Refusal
from teletrunk.identifiers import Called
from teletrunk.v1 import session_store_pb2 as pb

from .storage import DISCONNECT, Storage, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT_ONCE_S = 5.0
GET_MESSAGES, RECEIVED_CALL = "messages.getMessages", "phone.receivedCall"


async def heard(arrived: asyncio.Queue[pb.IncomingCall], within: float = AT_ONCE_S) -> pb.IncomingCall:
    async with asyncio.timeout(within):
        return await arrived.get()


@pytest.mark.parametrize("trouble", ["flood", "late", "error"])
async def test_a_message_that_replies_holds_no_call_back(store: Storage, trouble: str) -> None:
    """The library would fetch what it replies to first, in the one place where updates are handled."""
    phone, friend = "7999111000" + str(len(trouble)), await store.friend()
    await store.control.add_user(phone, "Gateway")
    found = await friend.ask(raw.functions.contacts.ResolvePhone(phone=phone))
    peer = raw.types.InputPeerUser(user_id=found.users[0].id, access_hash=found.users[0].access_hash)
    sent = await friend.ask(raw.functions.messages.SendMessage(peer=peer, message="before", random_id=1))
    original = next(update.id for update in sent.updates if isinstance(update, raw.types.UpdateMessageID))
    session_id = await store.sign_in(phone)
    if trouble == "flood":
        await store.control.flood(phone, 10, GET_MESSAGES, times=100)
    elif trouble == "late":
        await store.control.delay(phone, 8, GET_MESSAGES)
    else:
        await store.control.error(phone, GET_MESSAGES, 500, "INTERNAL_SERVER_ERROR", times=100)
    async with store.watch(session_id) as arrived:
        reply = raw.types.InputReplyToMessage(reply_to_msg_id=original)
        await friend.ask(raw.functions.messages.SendMessage(peer=peer, message="now", random_id=2, reply_to=reply))
        await calls(friend, phone)
        assert (await heard(arrived)).caller.first_name == "Friend"


async def test_workers_hear_of_a_call_before_telegram_has_answered_receivedcall(store: Storage) -> None:
    phone, session_id = await store.account()
    one, two = await store.friend("One"), await store.friend("Two")
    await store.control.trace(phone, True)
    await store.control.delay(phone, 8, RECEIVED_CALL)
    async with store.watch(session_id) as arrived:
        await calls(one, phone)
        await calls(two, phone)
        assert [(await heard(arrived)).caller.first_name for _ in range(2)] == ["One", "Two"]
        for friend in (one, two):  # and their callers hear ringing
            waiting = await friend.call(raw.types.PhoneCallWaiting)
            assert waiting.receive_date


async def test_a_caller_is_told_with_all_usernames(store: Storage) -> None:
    """Lists of callers go by any of them: the order is the caller's own."""
    phone, session_id = await store.account()
    friend = await store.friend(username="Showy", more_usernames=["Friend_1", "third"])
    async with store.watch(session_id) as arrived:
        await calls(friend, phone)
        caller = (await heard(arrived)).caller
    assert (caller.username, list(caller.more_usernames)) == ("showy", ["friend_1", "third"])
    await store.control.error(phone, "contacts.resolveUsername", 500, "INTERNAL_SERVER_ERROR", times=1_000)
    destination = destination_of(Called("username", "Third"), "@Third", "@Third")
    request = pb.ResolveRequest(session_id=session_id, destination=destination)
    async with asyncio.timeout(AT_ONCE_S):  # by each it is known from then on; they are written down meanwhile
        while (user_id := await resolved(store, request)) is None:
            await asyncio.sleep(0.02)
    assert user_id == caller.user_id


async def resolved(store: Storage, request: pb.ResolveRequest) -> int | None:
    try:
        return int((await store.stub.Resolve(request)).peer.user_id)
    except grpc.aio.AioRpcError:
        return None


async def test_a_call_that_telegram_lets_nobody_receive_is_offered_all_the_same(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.error(phone, RECEIVED_CALL, 400, "CALL_PEER_INVALID")
    async with store.watch(session_id) as arrived:
        await calls(friend, phone)
        await heard(arrived)
    async with asyncio.timeout(AT_ONCE_S):
        while "CALL_PEER_INVALID" not in store.said():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("attempt", range(3))
async def test_a_call_that_comes_while_the_link_is_cut_is_taken_and_rings(store: Storage, attempt: int) -> None:
    """Its update arrives with the link, before the session counts as active."""
    phone, session_id = await store.account()
    friend = await store.friend()
    async with store.watch(session_id) as arrived:
        await store.control.cut(phone, 5)
        await calls(friend, phone)
        call = store.take(await heard(arrived, within=12))
        assert (await call.until("requested")).peer.first_name == "Friend"
        assert (await friend.call(raw.types.PhoneCallWaiting)).receive_date
        call.ask(accept=pb.AcceptCall())
        await friend.call(raw.types.PhoneCallAccepted)
        call.ask(discard=pb.DiscardCall(reason=DISCONNECT))
        await store.discarded(phone, within=5)


async def test_a_call_that_is_over_before_it_is_taken_is_not_taken(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    async with store.watch(session_id) as arrived:
        made = await calls(friend, phone)
        incoming = await heard(arrived)
        peer = raw.types.InputPhoneCall(id=made.id, access_hash=made.access_hash)
        reason = raw.types.PhoneCallDiscardReasonMissed()
        await friend.ask(raw.functions.phone.DiscardCall(peer=peer, duration=0, reason=reason, connection_id=0))
        try:
            assert (await store.take(incoming).until("discarded")).by_peer  # it was faster than the news
        except Refusal as refusal:
            assert refusal.detail == "CALL_ALREADY_DECLINED"


async def test_workers_write_to_who_has_called_and_once(store: Storage) -> None:
    """A chat is the account's own: a Worker says there why a call was not put through, and nothing else."""
    phone, session_id = await store.account()
    caller, other = await store.friend("Caller"), await store.friend("Other")
    user_ids = []
    async with store.watch(session_id) as arrived:
        for friend in (caller, other):
            await calls(friend, phone)
            user_ids.append((await heard(arrived)).caller.user_id)

    async def written(user_id: int) -> None:
        request = pb.SendMessageRequest(session_id=session_id, user_id=user_id, text="480 PBX is unreachable")
        await store.stub.SendMessage(request, timeout=AT_ONCE_S)

    for user_id in user_ids:
        await written(user_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await written(user_id)
    known = pb.ResolveRequest(session_id=session_id, called=(await store.friend("Called")).phone)
    callee = (await store.stub.Resolve(known, timeout=AT_ONCE_S)).peer
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await written(callee.user_id)
    found = rpc.refusal_of(refused.value)
    assert found is not None and found.row.id == "no-confirmed-contact", "it is known, and has not called"


async def test_a_caller_is_written_to_before_the_vault_has_the_peer(store: Storage) -> None:
    """The vault is written beside the call, and may be slow or unreachable; why a call was refused is said at once."""
    phone, session_id = await store.account()
    caller = await store.friend("Unwritten")
    with contextlib.closing(sqlite3.connect(store.directory / "data" / "vault.db")) as other:
        async with store.watch(session_id) as arrived:
            other.execute("BEGIN IMMEDIATE")
            await calls(caller, phone)
            user_id = (await heard(arrived)).caller.user_id
            request = pb.SendMessageRequest(session_id=session_id, user_id=user_id, text="480 PBX is unreachable")
            await store.stub.SendMessage(request, timeout=AT_ONCE_S)
