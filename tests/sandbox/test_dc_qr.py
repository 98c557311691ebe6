"""Signing in by QR code: tokens, who accepts them, data centres, and what is refused."""

from __future__ import annotations

import asyncio
import time

import pytest
from pyrogram import Client, errors, raw
from pyrogram.handlers import RawUpdateHandler
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import Dc, PersonFactory, leave, new_client


async def export(client: Client, *but: int) -> raw.base.auth.LoginToken:
    query = raw.functions.auth.ExportLoginToken(api_id=client.api_id, api_hash=client.api_hash, except_ids=list(but))
    return await client.invoke(query, sleep_threshold=0)


async def test_an_accepted_token_signs_in(client: Client, person: PersonFactory) -> None:
    told = asyncio.Event()

    async def hear(_client: Client, update: raw.base.Update, _users: dict, _chats: dict) -> None:
        if isinstance(update, raw.types.UpdateLoginToken):
            told.set()

    client.add_handler(RawUpdateHandler(hear))
    await client.dispatcher.start()
    anna = await person("Anna")
    shown = await export(client)
    assert 28 <= shown.expires - time.time() <= 31
    device = await anna.ask(raw.functions.auth.AcceptLoginToken(token=shown.token))
    assert device.hash and not device.current
    await asyncio.wait_for(told.wait(), 10)
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_ALREADY_ACCEPTED"):
        await anna.ask(raw.functions.auth.AcceptLoginToken(token=shown.token))
    answer = await export(client)
    assert isinstance(answer, raw.types.auth.LoginTokenSuccess)
    assert answer.authorization.user.id == anna.user_id
    assert len((await anna.ask(raw.functions.account.GetAuthorizations())).authorizations) == 2
    await client.dispatcher.stop()


async def test_what_is_refused(client: Client, control: SandboxControl, person: PersonFactory) -> None:
    anna = await person("Anna")
    with pytest.raises(errors.ApiIdInvalid):
        await client.invoke(raw.functions.auth.ExportLoginToken(api_id=77, api_hash="x", except_ids=[]))
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_INVALID"):
        await anna.ask(raw.functions.auth.AcceptLoginToken(token=b"x" * 32))
    not_for_her = await export(client, anna.user_id)
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_EXCEPTION"):
        await anna.ask(raw.functions.auth.AcceptLoginToken(token=not_for_her.token))
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_INVALID"):  # nobody has accepted it
        await anna.ask(raw.functions.auth.ImportLoginToken(token=not_for_her.token))
    await control.login_token_seconds(0)
    try:
        over = await export(client)
    finally:
        await control.login_token_seconds(30)
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_EXPIRED"):
        await anna.ask(raw.functions.auth.AcceptLoginToken(token=over.token))
    with pytest.raises(errors.AuthKeyUnregistered):
        await client.invoke(raw.functions.auth.AcceptLoginToken(token=over.token))


async def test_the_data_centre_of_the_account_and_its_password(
    dc: Dc, client: Client, control: SandboxControl, person: PersonFactory
) -> None:
    anna = await person("Anna")
    await control.home(anna.phone, 4)
    await control.add_user(anna.phone, "Anna", password="right horse")
    shown = await export(client)
    await anna.ask(raw.functions.auth.AcceptLoginToken(token=shown.token))
    answer = await export(client)
    assert isinstance(answer, raw.types.auth.LoginTokenMigrateTo) and answer.dc_id == 4
    with pytest.raises(errors.RPCError, match="AUTH_TOKEN_INVALID"):  # not at this data centre
        await client.invoke(raw.functions.auth.ImportLoginToken(token=answer.token))
    there = new_client(dc)
    await there.connect()
    with pytest.raises(errors.SessionPasswordNeeded):
        await there.invoke(raw.functions.auth.ImportLoginToken(token=answer.token))
    assert (await there.check_password("right horse")).id == anna.user_id
    await leave(there)
