"""Signing in: codes, passwords, sign-up, sessions that outlive a restart, devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyrogram import Client, errors, raw
from pyrogram.connection.transport import TCPAbridged, TCPIntermediate, TCPIntermediatePadded
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import Dc, PersonFactory, leave, new_client


@pytest.mark.parametrize("framing", [TCPAbridged, TCPIntermediate, TCPIntermediatePadded])
async def test_right_code_signs_in(dc: Dc, control: SandboxControl, phone: str, framing: type) -> None:
    user_id = await control.add_user(phone, "Anna", "Smith", username=f"anna_{phone}")
    client = new_client(dc, protocol_factory=framing)
    await client.connect()
    sent = await client.send_phone_number_code(phone)
    user = await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
    assert user.id == user_id
    me = await client.get_me()
    assert (me.first_name, me.last_name, me.phone_number) == ("Anna", "Smith", phone)
    await client.disconnect()


async def test_wrong_and_empty_code(client: Client, control: SandboxControl, phone: str) -> None:
    await control.add_user(phone, "Anna")
    sent = await client.send_phone_number_code(phone)
    code = await control.code(phone)
    wrong = f"{(int(code) + 1) % 100000:05}"
    with pytest.raises(errors.PhoneCodeInvalid):
        await client.sign_in(phone, sent.phone_code_hash, wrong)
    with pytest.raises(errors.PhoneCodeEmpty):
        await client.invoke(
            raw.functions.auth.SignIn(phone_number=phone, phone_code_hash=sent.phone_code_hash, phone_code="")
        )
    assert (await client.sign_in(phone, sent.phone_code_hash, code)).phone_number == phone


async def test_expired_code_and_resend(client: Client, control: SandboxControl, phone: str) -> None:
    await control.add_user(phone, "Anna")
    sent = await client.send_phone_number_code(phone)
    again = await client.resend_phone_number_code(phone, sent.phone_code_hash)
    with pytest.raises(errors.PhoneCodeExpired):
        await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
    await control.expire_code(phone)
    with pytest.raises(errors.PhoneCodeExpired):
        await client.sign_in(phone, again.phone_code_hash, await control.code(phone))


async def test_not_a_phone_number(client: Client) -> None:
    with pytest.raises(errors.PhoneNumberInvalid):
        await client.send_phone_number_code("12ab")


async def test_password(client: Client, control: SandboxControl, phone: str) -> None:
    await control.add_user(phone, "Anna", password="correct horse")
    sent = await client.send_phone_number_code(phone)
    with pytest.raises(errors.SessionPasswordNeeded):
        await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
    with pytest.raises(errors.PasswordHashInvalid):
        await client.check_password("battery staple")
    with pytest.raises(errors.AuthKeyUnregistered):
        await client.invoke(raw.functions.updates.GetState())
    assert (await client.check_password("correct horse")).phone_number == phone


async def test_sign_up(client: Client, control: SandboxControl, phone: str) -> None:
    sent = await client.send_phone_number_code(phone)
    answer = await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
    assert not answer
    user = await client.sign_up(phone, sent.phone_code_hash, "New", "Person")
    assert (await control.user(phone))["id"] == user.id


async def test_log_out(client: Client, control: SandboxControl, phone: str) -> None:
    await control.add_user(phone, "Anna")
    sent = await client.send_phone_number_code(phone)
    await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
    await client.invoke(raw.functions.auth.LogOut())
    with pytest.raises(errors.AuthKeyUnregistered):
        await client.invoke(raw.functions.updates.GetState())


async def test_unknown_method_is_answered(client: Client) -> None:
    with pytest.raises(errors.MethodInvalid):
        await client.invoke(raw.functions.help.GetInviteText())


async def test_restart_keeps_sessions(tmp_path: Path, phone: str) -> None:
    first = Dc.start(tmp_path / "state")
    async with first.control() as control:
        await control.add_user(phone, "Anna")
        await control.add_user("79991234567", "Bob")
        client = new_client(first)
        await client.connect()
        sent = await client.send_phone_number_code(phone)
        user = await client.sign_in(phone, sent.phone_code_hash, await control.code(phone))
        bob = (await client.invoke(raw.functions.contacts.ResolvePhone(phone="79991234567"))).users[0]
        session = await client.export_session_string()
        await client.disconnect()
    first.stop()
    assert (tmp_path / "state" / "rsa.pem").stat().st_mode & 0o777 == 0o600

    second = Dc.start(tmp_path / "state")
    client = new_client(second, session_string=session)
    await client.start()
    assert (await client.get_me()).id == user.id
    again = (await client.invoke(raw.functions.contacts.ResolvePhone(phone="79991234567"))).users[0]
    assert again.access_hash == bob.access_hash
    await leave(client)
    second.stop()


async def test_devices(person: PersonFactory) -> None:
    first = await person("Anna")
    second = await person(phone=first.phone)
    devices = (await first.ask(raw.functions.account.GetAuthorizations())).authorizations
    assert sorted(bool(device.current) for device in devices) == [False, True]
    other = next(device for device in devices if not device.current)
    assert await first.ask(raw.functions.account.ResetAuthorization(hash=other.hash))
    with pytest.raises(errors.SessionRevoked):
        await second.ask(raw.functions.updates.GetState())
