"""Signing in by QR code: it is renewed, scanned, followed to another data centre, and may still want a password."""

from __future__ import annotations

import asyncio
import base64
import time

import grpc
import pytest
from pyrogram import raw
from teletrunk.v1 import session_store_pb2 as pb

from tests.sandbox.dc_world import Person

from .storage import PATIENCE_S, Storage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def begin(store: Storage) -> pb.StartQrSignInResponse:
    answer: pb.StartQrSignInResponse = await store.stub.StartQrSignIn(pb.StartQrSignInRequest(), timeout=PATIENCE_S)
    return answer


async def wait(store: Storage, sign_in_id: str, wait_s: int = 20) -> pb.AwaitQrSignInResponse:
    request = pb.AwaitQrSignInRequest(sign_in_id=sign_in_id, wait_s=wait_s)
    answer: pb.AwaitQrSignInResponse = await store.stub.AwaitQrSignIn(request, timeout=2 * PATIENCE_S)
    return answer


async def scan(friend: Person, url: str) -> None:
    """What the Telegram app does that is signed in."""
    scheme, _, token = url.partition("=")
    assert scheme == "tg://login?token"
    padded = token + "=" * (-len(token) % 4)
    await friend.ask(raw.functions.auth.AcceptLoginToken(token=base64.urlsafe_b64decode(padded)))


async def test_a_code_that_is_scanned_signs_its_scanner_in(store: Storage) -> None:
    friend = await store.friend("Ann")
    begun = await begin(store)
    assert 20 < begun.code.expires_at - time.time() < 40
    assert (await wait(store, begun.sign_in_id, 0)).code == begun.code, "nobody has scanned it, so nothing is new"
    waiting = asyncio.create_task(wait(store, begun.sign_in_id))
    await scan(friend, begun.code.url)
    signed_in = (await waiting).signed_in
    assert (signed_in.user.first_name, signed_in.user.phone) == ("Ann", friend.phone)
    await store.active(signed_in.session_id)
    assert await store.control.duplicates() == 0
    with pytest.raises(grpc.aio.AioRpcError, match="this sign-in is over"):
        await wait(store, begun.sign_in_id)


async def test_two_who_wait_for_one_code_hear_the_same(store: Storage) -> None:
    friend = await store.friend("Ann")
    begun = await begin(store)
    waiting = [asyncio.create_task(wait(store, begun.sign_in_id)) for _ in range(2)]
    await begin(store)  # by the time of its answer both wait
    await scan(friend, begun.code.url)
    first, second = [answer.signed_in for answer in await asyncio.gather(*waiting)]
    assert first == second and first.user.phone == friend.phone
    await store.active(first.session_id)


async def test_a_code_is_renewed_before_its_end_and_the_new_one_counts(store: Storage) -> None:
    friend = await store.friend("Ann")
    await store.control.login_token_seconds(5)
    try:
        begun = await begin(store)
    finally:
        await store.control.login_token_seconds(30)
    answer = await wait(store, begun.sign_in_id)
    assert time.time() < begun.code.expires_at < answer.code.expires_at and answer.code.url != begun.code.url
    await scan(friend, answer.code.url)
    assert (await wait(store, begun.sign_in_id)).signed_in.user.phone == friend.phone


async def test_an_account_of_another_data_centre_with_a_password(store: Storage) -> None:
    friend = await store.friend("Ann")
    await store.control.home(friend.phone, 4)
    await store.control.add_user(friend.phone, "Ann", password="right horse")
    begun = await begin(store)
    await scan(friend, begun.code.url)
    for _ in range(2):  # the answer may have been lost on its way
        assert (await wait(store, begun.sign_in_id)).HasField("password_needed")
    with pytest.raises(grpc.aio.AioRpcError, match="the two-step password is wrong"):
        await store.stub.SubmitPassword(
            pb.SubmitPasswordRequest(sign_in_id=begun.sign_in_id, password="wrong"), timeout=PATIENCE_S
        )
    request = pb.SubmitPasswordRequest(sign_in_id=begun.sign_in_id, password="right horse")
    signed_in = (await store.stub.SubmitPassword(request, timeout=PATIENCE_S)).signed_in
    await store.active(signed_in.session_id)
    assert len((await store.control.user(friend.phone))["devices"]) == 2


async def test_an_answer_that_was_lost_is_not_the_end(store: Storage) -> None:
    friend = await store.friend("Ann")
    begun = await begin(store)
    await store.control.delay(friend.phone, 2, "auth.exportLoginToken")
    await scan(friend, begun.code.url)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.stub.AwaitQrSignIn(pb.AwaitQrSignInRequest(sign_in_id=begun.sign_in_id, wait_s=9), timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await store.control.delay(friend.phone, 0, "auth.exportLoginToken")
    assert (await wait(store, begun.sign_in_id)).signed_in.user.phone == friend.phone


async def test_what_is_asked_of_the_wrong_sign_in(store: Storage) -> None:
    phone = (await store.friend("Ann")).phone
    with pytest.raises(grpc.aio.AioRpcError, match="by a code that Telegram has sent"):
        await wait(store, await store.begin(phone))
    begun = await begin(store)
    with pytest.raises(grpc.aio.AioRpcError, match="scan the QR code"):
        await store.submit(begun.sign_in_id, "12345")
    await begin(store)
    assert (await wait(store, begun.sign_in_id, 0)).code.url == begun.code.url, "one does not end another"
