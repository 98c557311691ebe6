"""A sign-in is its beginner's, asks Telegram so often, and takes nobody's account over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Member
from teletrunk_manager.vaults import have_one_vault

from tests.integration.manager_process import Attachment, StorageServer
from tests.integration.rest_world import Api, rest_api

_ANN = {"phone": "+491711234567"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with rest_api(tmp_path / "data") as api:
        await api.token("tenant", "administrator")
        await api.token("other", "administrator")
        yield api


async def test_nobody_else_goes_on_with_a_sign_in(api: Api) -> None:
    sign_in_id = (await api.ask("POST", "/v1/sign-ins", "tenant", body=_ANN))[1]["sign_in_id"]
    storage_id, rest = sign_in_id.split(":", 1)
    code = {"code": "11111"}
    for name in (sign_in_id, f"{storage_id}:{rest.split(':')[0]}", f"{sign_in_id[:-1]}x"):
        assert (await api.ask("POST", f"/v1/sign-ins/{name}/code", "other", body=code))[0] == 404
    assert (await api.ask("POST", f"/v1/sign-ins/{sign_in_id}/code", "tenant", body=code))[1]["account"]["owner"] == (
        "tenant"
    )


async def test_an_administrator_lets_telegram_be_asked_so_often(api: Api) -> None:
    """By codes that are sent again, by guessed ones and by numbers that are looked up, together."""
    await api.world.add_account()
    assert (await api.ask("PUT", "/v1/accounts/@ann/shares/tenant", body={}))[0] == 204
    assert (await api.ask("POST", "/v1/trunks", "tenant", body={"account": "@ann", "login": "t"}))[0] == 201
    sign_in_id = (await api.ask("POST", "/v1/sign-ins", "tenant", body={"phone": "+491711234568"}))[1]["sign_in_id"]
    looked_up = {"number": "+491700000001", "look_up": True}
    asks = {"/v1/trunks/t/test-number": looked_up, f"/v1/sign-ins/{sign_in_id}/resend": {}}
    answers = [await api.ask("POST", path, "tenant", body=body) for _ in range(15) for path, body in asks.items()]
    assert [status // 100 for status, _ in answers] == [2] * 20 + [4] * 10
    assert answers[-1][0] == 429 and answers[-1][1]["detail"].startswith("too many questions to Telegram: wait ")
    assert api.world.storage_server.asked == {"Resolve": 10, "ResendCode": 10}
    assert (await api.ask("POST", f"/v1/sign-ins/{sign_in_id}/code", "tenant", body={"code": "0"}))[0] == 429
    without = {**looked_up, "look_up": False}
    assert (await api.ask("POST", "/v1/trunks/t/test-number", "tenant", body=without))[0] == 200
    assert (await api.ask("POST", "/v1/trunks/t/test-number", body=looked_up))[0] == 200, "owners ask on"


async def test_a_storage_takes_over_no_account_of_another_one(api: Api) -> None:
    account = await api.world.add_account()
    honest, rogue = api.world.storage_server, StorageServer.serving("storage-2")
    await rogue.server.start()
    attachment = Attachment(api.world.wire, rogue.hello())
    await attachment.beat()
    rogue.scanned = True  # it says that the account's user has signed in

    async def by_qr(who: str) -> tuple[int, Any]:
        started = (await api.ask("POST", "/v1/qr-sign-ins", who, body={"storage_id": "storage-2"}))[1]
        attachment.repeat()
        return await api.ask("POST", f"/v1/qr-sign-ins/{started['sign_in_id']}/wait", who, body={"wait_s": 1})

    async def place() -> tuple[str, str]:
        one = (await api.ask("GET", f"/v1/accounts/{account.account_id}"))[1]["account"]
        return one["storage_id"], one["session_id"]

    try:
        status, refused = await by_qr("other")
        assert (status, refused["detail"]) == (
            403, "that Telegram account is another administrator's: ask its owner for a share of it"
        )  # fmt: skip
        status, refused = await by_qr("root")
        assert status == 409 and "to move it, sign it in by its phone number" in refused["detail"]
        assert await place() == (account.storage_id, account.session_id) and not honest.removed
        assert len(rogue.removed) == 2, "what it has signed in is signed out"

        rogue.session_id, rogue.user.user_id = account.session_id, 7002
        status, refused = await by_qr("other")
        assert status == 400 and refused["detail"].startswith("the Session Storage names another account's session")
        rogue.session_id, rogue.user.username = "", "x" * 3_000_000
        assert (await by_qr("other"))[0] == 400

        rogue.user.username, rogue.user.user_id = "Ann", 7001
        started = (await api.ask("POST", "/v1/sign-ins", body={**_ANN, "storage_id": "storage-2"}))[1]
        code = {"code": "11111"}
        assert (await api.ask("POST", f"/v1/sign-ins/{started['sign_in_id']}/code", body=code))[0] == 200
        assert (await place())[0] == "storage-2", "its owner has named it"
        assert honest.removed == [account.session_id]
    finally:
        await attachment.leave()
        await rogue.server.stop(0)


async def test_storages_of_one_vault(database: Database) -> None:
    async with database.transaction() as session:
        for storage_id, vault in (("a", b"1"), ("b", b"1"), ("c", b"2"), ("d", b""), ("e", b"")):
            session.add(Member(service_id=storage_id, kind="storage", enrolled_at=1.0, revoked=False, vault_hash=vault))
    async with database.transaction(reading=True) as session:
        for one, other, same in (("a", "b", True), ("a", "c", False), ("d", "e", False), ("a", "none", False)):
            assert await have_one_vault(session, one, other) is same
