"""What a test can make go wrong."""

from __future__ import annotations

import asyncio
import os
import time
from io import BytesIO

import pytest
from pyrogram import Client, errors, raw
from pyrogram.crypto import mtproto
from pyrogram.raw.core import GzipPacked, Int, Message, MsgContainer, TLObject
from pyrogram.session.session import Result
from teletrunk_sandbox.control import SandboxControl
from teletrunk_sandbox.errors import CommandError

from tests.sandbox.dc_world import DEADLINE, Dc, PersonFactory, new_client

functions, types = raw.functions, raw.types


async def test_flood(person: PersonFactory, control: SandboxControl) -> None:
    anna = await person("Anna")
    await control.flood(anna.phone, 17, "updates.getState", times=2)
    await anna.client.get_me()
    for _ in range(2):
        with pytest.raises(errors.FloodWait) as caught:
            await anna.ask(functions.updates.GetState())
        assert caught.value.value == 17
    await anna.ask(functions.updates.GetState())


async def test_flood_at_sign_in(client: Client, control: SandboxControl, phone: str) -> None:
    await control.add_user(phone, "Anna")
    await control.flood(phone, 600, "auth.sendCode")
    with pytest.raises(errors.FloodWait):
        await client.send_phone_number_code("+" + phone)


async def test_peer_flood_and_any_error(person: PersonFactory, control: SandboxControl) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    await anna.input_of(bob)
    await control.peer_flood(anna.phone, True)
    with pytest.raises(errors.PeerFlood):
        await anna.client.send_message(bob.user_id, "hello")
    await control.peer_flood(anna.phone, False)
    await control.error(anna.phone, "messages.sendMessage", 403, "CHAT_WRITE_FORBIDDEN")
    with pytest.raises(errors.ChatWriteForbidden):
        await anna.client.send_message(bob.user_id, "hello")
    await anna.client.send_message(bob.user_id, "hello")


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("AUTH_KEY_UNREGISTERED", errors.AuthKeyUnregistered),
        ("SESSION_REVOKED", errors.SessionRevoked),
        ("USER_DEACTIVATED", errors.UserDeactivated),
        ("USER_DEACTIVATED_BAN", errors.UserDeactivatedBan),
    ],
)
async def test_revoke(person: PersonFactory, control: SandboxControl, reason: str, error: type[Exception]) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    user = await bob.input_of(anna)
    await control.revoke(anna.phone, reason)
    with pytest.raises(error):
        await anna.ask(functions.updates.GetState())
    if reason.startswith("USER_DEACTIVATED"):
        with pytest.raises(errors.InputUserDeactivated):
            query = functions.phone.RequestCall(
                user_id=user,
                random_id=1,
                g_a_hash=os.urandom(32),
                protocol=types.PhoneCallProtocol(min_layer=65, max_layer=92, library_versions=["9.0.0"], udp_p2p=True),
            )
            await bob.ask(query)


async def test_forgotten_key(person: PersonFactory, control: SandboxControl) -> None:
    anna = await person("Anna")
    await control.forget_key(anna.phone)
    task = anna.client.session.recv_task
    await asyncio.wait([task], timeout=DEADLINE)
    assert type(task.exception()).__name__ == "AuthKeyNotFound"
    assert await control.connections(anna.phone) == []
    # kurigram stays dead, and would wait for that task when it is told to stop
    anna.client.session.recv_task = None


async def test_cut_and_resend(person: PersonFactory, control: SandboxControl) -> None:
    """The same session goes on over another connection, and gets again what it may not have got."""
    bob = await person("Bob")
    before = await control.connections(bob.phone)
    assert len(before) == 1
    await control.delay(bob.phone, 0.3, "help.getNearestDc")
    asked = asyncio.create_task(bob.client.session.send(functions.help.GetNearestDc(), timeout=DEADLINE))
    await asyncio.sleep(0.1)
    await control.cut(bob.phone, 0.5)
    assert isinstance(await asked, types.NearestDc)
    after = await control.connections(bob.phone)
    assert [one["session_id"] for one in after] == [one["session_id"] for one in before]
    assert [one["peer"] for one in after] != [one["peer"] for one in before]


async def test_one_key_on_two_connections_is_counted(dc: Dc, person: PersonFactory, control: SandboxControl) -> None:
    anna = await person("Anna")
    before = await control.duplicates()
    second = new_client(dc, session_string=await anna.client.export_session_string())
    await second.start()
    assert len(await control.connections(anna.phone)) == 2
    assert await control.duplicates() == before + 1
    await second.stop()


async def test_delay_and_trace(person: PersonFactory, control: SandboxControl) -> None:
    anna = await person("Anna")
    await control.trace(anna.phone, True)
    await control.delay(anna.phone, 1e6, "updates.getState")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anna.ask(functions.updates.GetState())
    await control.delay(anna.phone, 0, "updates.getState")
    await anna.ask(functions.updates.GetState())
    assert [call["method"] for call in await control.trace_log(anna.phone)] == ["updates.getState"] * 2


async def test_other_layer(client: Client) -> None:
    class OldLayer(TLObject):
        QUALNAME = "functions.InvokeWithLayer"

        def write(self, *args: object) -> bytes:
            return bytes(Int(functions.InvokeWithLayer.ID, False)) + bytes(Int(158)) + b"\0\0\0\0"

    with pytest.raises(errors.ConnectionLayerInvalid):
        await client.session.send(OldLayer())


async def test_service_messages(client: Client) -> None:
    salts = await client.session.send(functions.GetFutureSalts(num=3))
    assert len(salts.salts) == 3 and salts.salts[0].salt == client.session.salt
    gone = await client.session.send(functions.DestroySession(session_id=1))
    assert isinstance(gone, types.DestroySessionNone)
    await client.session.send(types.MsgsStateReq(msg_ids=[1]), wait_response=False)
    config = await client.invoke(functions.help.GetConfig())
    assert [(option.ip_address, option.id) for option in config.dc_options] == [("127.0.0.1", 2), ("127.0.0.1", 4)]
    assert config.call_ring_timeout_ms == 90_000


async def test_gzip_packed(client: Client) -> None:
    assert isinstance(await client.session.send(GzipPacked(functions.help.GetNearestDc())), types.NearestDc)


@pytest.mark.parametrize(("shift", "code"), [(1, 18), (-400 << 32, 16), (60 << 32, 17)])
async def test_message_ids_that_are_wrong(client: Client, shift: int, code: int) -> None:
    session = client.session
    message = await session.msg_factory.create(functions.help.GetNearestDc())
    message.msg_id += shift
    result = session.results[message.msg_id] = Result()
    packet = mtproto.pack(message, session.salt, session.session_id, session.auth_key, session.auth_key_id)
    await session.connection.send(packet)
    await asyncio.wait_for(result.event.wait(), DEADLINE)
    assert isinstance(result.value, types.BadMsgNotification) and result.value.error_code == code


async def test_sequence_numbers_that_are_wrong(client: Client) -> None:
    session = client.session
    for query, code in ((functions.help.GetNearestDc(), 35), (types.MsgsAck(msg_ids=[4]), 34)):
        message = await session.msg_factory.create(query)
        message.seq_no ^= 1
        result = session.results[message.msg_id] = Result()
        packet = mtproto.pack(message, session.salt, session.session_id, session.auth_key, session.auth_key_id)
        await session.connection.send(packet)
        await asyncio.wait_for(result.event.wait(), DEADLINE)
        assert isinstance(result.value, types.BadMsgNotification) and result.value.error_code == code


async def test_container(client: Client) -> None:
    factory = client.session.msg_factory
    inner = [await factory.create(functions.help.GetNearestDc()) for _ in range(2)]
    copies = [Message(message.body, message.msg_id, message.seq_no, message.length) for message in inner]
    results = [client.session.results.setdefault(message.msg_id, Result()) for message in inner]
    await client.session.send(MsgContainer(copies), wait_response=False)
    async with asyncio.timeout(DEADLINE):
        for result in results:
            await result.event.wait()
    assert all(isinstance(result.value, types.NearestDc) for result in results)


async def test_garbage_closes_the_connection(dc: Dc) -> None:
    for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"\xee" * 4 + b"\xff" * 8, b"\xef\x0a" + b"\x01" * 40):
        reader, writer = await asyncio.open_connection(dc.ready["host"], dc.ready["port"])
        writer.write(bytes_)
        async with asyncio.timeout(DEADLINE):
            answer = await reader.read()
        writer.close()
        assert answer in (b"", b"\x01" + Int(-404)), BytesIO(answer)


async def test_command_that_is_wrong(control: SandboxControl) -> None:
    with pytest.raises(CommandError, match="no user"):
        await control.cut("79000000000", 1)
    with pytest.raises(CommandError, match="reason"):
        await control.revoke("79000000000", "BECAUSE")


async def test_an_answer_of_another_constructor(person: PersonFactory, control: SandboxControl) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    await control.answer(anna.phone, "contacts.resolvePhone", "updates")
    query = functions.contacts.ResolvePhone(phone=bob.phone)
    assert isinstance(await anna.ask(query), types.Updates)
    assert isinstance(await anna.ask(query), types.contacts.ResolvedPeer)
    with pytest.raises(CommandError, match="must be one of"):
        await control.answer(anna.phone, "contacts.resolvePhone", "nothing")


async def test_a_clock_of_its_own(dc: Dc, control: SandboxControl) -> None:
    await control.clock(-45)
    try:
        client = new_client(dc)
        await client.connect()
        assert isinstance(await client.invoke(functions.help.GetNearestDc()), types.BadMsgNotification)
        assert client.server_time == pytest.approx(time.time() - 45, abs=2)
        await client.disconnect()
    finally:
        await control.clock(0)
    client = new_client(dc)
    await client.connect()
    assert isinstance(await client.invoke(functions.help.GetNearestDc()), types.NearestDc)
    await client.disconnect()
