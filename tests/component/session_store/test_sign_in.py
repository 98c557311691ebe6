"""Sign-ins that Telegram does not simply let through: one sentence each, nothing left open, nothing lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from teletrunk.v1 import session_store_pb2 as pb

from tests.sandbox.dc_world import new_phone

from .storage import PATIENCE_S, Storage, storage

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEND_CODE, SIGN_IN = "auth.sendCode", "auth.signIn"


async def somebody(store: Storage, **options: Any) -> str:
    phone = new_phone()
    await store.control.add_user(phone, "Ann", **options)
    return phone


async def sentence(store: Storage, work: object) -> str:
    """The one line that the sign-in ends with, once nothing of it is connected any more."""
    links = store.links()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work  # type: ignore[misc]
    text = str(caught.value.details())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, text
    assert "\n" not in text and len(text) < 200
    async with asyncio.timeout(PATIENCE_S):
        while store.links() > links:
            await asyncio.sleep(0.05)
    return text


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("sentCodePaymentRequired", "payment"),
        ("sentCodeTypeSetUpEmailRequired", "e-mail"),
        ("sentCodeTypeFirebaseSms", "app"),
        ("updates", "understood"),
    ],
)
async def test_telegram_wants_something_before_it_sends_a_code(store: Storage, answer: str, word: str) -> None:
    phone = await somebody(store)
    await store.sign_in(await somebody(store))  # a list of links that is not empty
    await store.control.answer(phone, SEND_CODE, "phoneCallEmpty" if answer == "updates" else answer)
    assert word in await sentence(store, store.begin(phone))
    await store.sign_in(phone)


async def test_a_number_without_an_account_whose_terms_are_sent(store: Storage) -> None:
    phone = new_phone()
    links = store.links()
    begun = await store.begin(phone)
    await store.control.answer(phone, SIGN_IN, "termsOfService")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.submit(begun, await store.control.code(phone))
    assert "has no Telegram account" in str(caught.value.details())
    async with asyncio.timeout(PATIENCE_S):
        while store.links() > links:
            await asyncio.sleep(0.05)


async def test_a_code_that_comes_by_e_mail(store: Storage) -> None:
    phone = await somebody(store)
    await store.control.answer(phone, SEND_CODE, "sentCodeTypeEmailCode")
    await store.sign_in(phone)


async def test_telegram_asks_for_no_code(store: Storage) -> None:
    phone = await somebody(store)
    await store.control.answer(phone, SEND_CODE, "sentCodeSuccess")
    started = await store.stub.StartSignIn(pb.StartSignInRequest(phone=phone), timeout=PATIENCE_S)
    assert started.code_sent_by == "none"
    answer = await store.submit(started.sign_in_id, "")
    assert answer.signed_in.user.phone == phone
    await store.active(answer.signed_in.session_id)


async def test_a_data_centre_that_nobody_knows(store: Storage) -> None:
    phone = await somebody(store)
    await store.control.error(phone, SEND_CODE, 303, "PHONE_MIGRATE_7")
    assert "data centre" in await sentence(store, store.begin(phone))
    await store.sign_in(phone)


async def test_a_flood_wait_after_the_code(store: Storage) -> None:
    phone = await somebody(store)
    begun = await store.begin(phone)
    await store.control.flood(phone, 30, "users.getUsers", times=100)
    answer = await store.submit(begun, await store.control.code(phone))
    assert (answer.signed_in.user.first_name, answer.signed_in.user.phone) == ("Ann", phone)


async def test_a_flood_wait_before_the_password_costs_no_code(store: Storage) -> None:
    phone = await somebody(store, password="right horse")
    begun = await store.begin(phone)
    answer = await store.submit(begun, await store.control.code(phone))
    assert answer.HasField("password_needed")
    password = pb.SubmitPasswordRequest(sign_in_id=begun, password="right horse")
    await store.control.flood(phone, 31, "account.getPassword")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.stub.SubmitPassword(password, timeout=PATIENCE_S)
    assert "31 s" in str(caught.value.details())
    assert (await store.stub.SubmitPassword(password, timeout=PATIENCE_S)).signed_in.user.phone == phone


@pytest.mark.parametrize("password", [None, "right horse"])
async def test_a_code_whose_answer_was_lost_is_good_a_second_time(store: Storage, password: str | None) -> None:
    phone = await somebody(store, password=password)
    begun = await store.begin(phone)
    code = await store.control.code(phone)
    await store.control.delay(phone, 2, SIGN_IN)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.submit(begun, code, within=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await store.control.delay(phone, 0, SIGN_IN)
    answer = await store.submit(begun, code)
    if password:
        assert answer.HasField("password_needed")
        request = pb.SubmitPasswordRequest(sign_in_id=begun, password=password)
        answer = await store.stub.SubmitPassword(request, timeout=PATIENCE_S)
    await store.active(answer.signed_in.session_id)


async def test_a_vault_that_fails_at_the_last_step_loses_neither_the_new_session_nor_the_old(store: Storage) -> None:
    phone = await somebody(store)
    old = await store.sign_in(phone)
    begun = await store.begin(phone)
    code = await store.control.code(phone)
    with store.vault_locked(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await store.submit(begun, code)
    assert "vault" in str(caught.value.details())
    await store.active(old)
    answer = await store.submit(begun, code)
    await store.active(answer.signed_in.session_id)
    assert await store.report(old) is None
    assert len((await store.control.user(phone))["devices"]) == 1


async def test_an_old_session_that_cannot_be_signed_out_does_not_lose_the_new_one(store: Storage) -> None:
    phone = await somebody(store)
    old = await store.sign_in(phone)
    await store.control.error(phone, "auth.logOut", 500, "INTERNAL_SERVER_ERROR", times=20)
    new = await store.sign_in(phone)
    assert await store.report(old) is None and new != old


async def test_a_sign_in_that_was_left_makes_room_for_its_own_number(store: Storage) -> None:
    phone = await somebody(store)
    links = store.links()
    for _ in range(25):  # more than may be under way
        begun = await store.begin(phone)
    async with asyncio.timeout(PATIENCE_S):
        while store.links() > links + 1:
            await asyncio.sleep(0.05)
    answer = await store.submit(begun, await store.control.code(phone))
    assert answer.signed_in.user.phone == phone


async def test_a_server_with_another_key(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    other.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.PKCS1))
    async with storage(tmp_path, TELETRUNK_TELEGRAM_RSA_KEY_FILE=str(other)) as store:
        assert "key" in await sentence(store, store.begin(await somebody(store)))
    assert "Traceback" not in store.said()
