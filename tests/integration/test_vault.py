"""The vault's promises, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from teletrunk.config import ConfigurationError
from teletrunk.database import make_engine
from teletrunk.security import Security
from teletrunk_session_store.config import StorageSettings
from teletrunk_session_store.telegram.lease import LEASE_S, RENEW_S, Lease
from teletrunk_session_store.telegram.renewals import Renewals
from teletrunk_session_store.vault.seal import Seal, WrongKey
from teletrunk_session_store.vault.store import KnownPeer, LeftRequest, Vault
from teletrunk_session_store.vault.tables import LEASES

KEY = bytes(range(32))


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}"
    return str(await request.getfixturevalue("postgres").database())


@pytest_asyncio.fixture
async def vault(url: str) -> AsyncIterator[Vault]:
    vault = Vault(url, Seal(KEY))
    await vault.open()
    yield vault
    await vault.close()


async def test_sessions_are_sealed_and_come_back(vault: Vault, url: str) -> None:
    await vault.put_session("s1", 7, "the session string")
    assert await vault.session_ids() == {"s1": 7}
    assert await vault.get_session("s1") == "the session string"
    other = Vault(url, Seal(bytes(32)))
    with pytest.raises(ConfigurationError, match="made with another key"):
        await other.open()
    await other.close()
    await vault.remove_session("s1")
    assert await vault.session_ids() == {}


async def test_a_fresh_session_takes_the_place_of_its_users_others(vault: Vault) -> None:
    await vault.put_session("s1", 7, "old")
    await vault.put_session("s2", 8, "somebody else's")
    await vault.put_peers("s1", [KnownPeer(1, 11)])
    for _ in range(2):  # whoever got no answer says it again
        await vault.put_session("s3", 7, "new")
        assert await vault.session_ids() == {"s2": 8, "s3": 7}
    assert await vault.get_session("s3") == "new"
    assert await vault.find_peer("s1", 1) is None


async def test_a_lease_has_one_owner_and_every_new_one_a_higher_fence(vault: Vault) -> None:
    assert await vault.take_lease("s1", "one", 30) == 1
    assert await vault.take_lease("s1", "two", 30) is None
    assert await vault.take_lease("s1", "one", 30) == 1  # renewed
    await vault.release_lease("s1", "one")
    assert await vault.take_lease("s1", "two", 0.0) == 2
    assert await vault.take_lease("s1", "one", 30) == 3  # the second's had run out
    assert await vault.take_lease("s1", "two", 30) is None


async def test_leases_are_renewed_together_and_only_their_owners(vault: Vault) -> None:
    owned = [f"s{number}" for number in range(2_000)]
    for session_id in owned[:5]:
        assert await vault.take_lease(session_id, "one", 0.0) == 1
    assert await vault.take_lease("s3", "two", 30) == 2
    renewals = Renewals(vault, "one", 30)
    fences = await asyncio.gather(*(renewals.ask(session_id) for session_id in owned))
    assert fences[:5] == [1, 1, 1, 0, 1] and not any(fences[5:])
    assert [await vault.lease_owner(each) for each in owned[:6]] == ["one", "one", "one", "two", "one", ""]


async def test_of_many_that_race_for_a_lease_one_wins(vault: Vault) -> None:
    for session in ("a", "b", "c"):
        taken = await asyncio.gather(*(vault.take_lease(session, f"owner{n}", 30) for n in range(8)))
        assert sorted(fence for fence in taken if fence) == [1]


async def test_a_peer_is_kept_with_all_usernames_that_it_has_now(vault: Vault) -> None:
    """Lists of callers go by each of them, also for a caller of whom Telegram has sent the id alone."""

    async def ann() -> KnownPeer | None:
        found = await vault.find_peer("s1", 1)
        return found and await vault.with_usernames("s1", found)

    showy = KnownPeer(1, 11, "Ann", "", "showy", "", ("friend", "third"))
    await vault.put_peers("s1", [showy, KnownPeer(2, 22, "Bo", "", "bo", "", ("other",))])
    assert await ann() == showy
    await vault.put_peers("s1", [showy], [("username", "showy", 1)])
    await vault.put_peers("s1", [showy], [("phone", "15550100", 1)])
    assert await ann() == showy, "by what it was found changes nothing of its names"
    await vault.put_peers("s1", [KnownPeer(1, 11, "Ann", "", "third", "", ("showy",))])
    assert await ann() == KnownPeer(1, 11, "Ann", "", "third", "", ("showy",)), "one was given up"
    await vault.put_peers("s1", [KnownPeer(2, 22, "Bo", "", "bo", "", ("showy",))])
    assert await ann() == KnownPeer(1, 11, "Ann", "", "third"), "one is somebody else's now"


async def test_peers_and_live_calls(vault: Vault) -> None:
    await vault.put_peers("s1", [KnownPeer(1, 11, "Ann", "", "ann", "15550100"), KnownPeer(2, 22)])
    await vault.put_peers("s1", [KnownPeer(1, 12, "Ann", "", "ann", "15550100")])
    ann = KnownPeer(1, 12, "Ann", "", "ann", "15550100")
    assert await vault.find_peer("s1", 1) == await vault.find_alias("s1", "username", "ann", 0) == ann
    assert await vault.find_peer("s2", 1) is await vault.find_alias("s2", "username", "ann", 0) is None
    await vault.put_peers("s1", [KnownPeer(1, 13, "Ann"), KnownPeer(2, 22, "Bo", "", "ann")])
    assert await vault.find_alias("s1", "username", "ann", 0) == KnownPeer(2, 22, "Bo", "", "ann"), "the name has moved"
    assert await vault.find_alias("s1", "phone", "15550100", 0) == KnownPeer(1, 13, "Ann", "", "", "15550100")
    assert await vault.find_alias("s1", "username", "ann", time.time() + 1) is None, "that was too long ago"
    await vault.note_call("s1", 5, 55)
    assert await vault.left_calls("s1") == [(5, 55)]
    await vault.forget_call("s1", 5)
    assert await vault.left_calls("s1") == []


async def test_a_request_is_kept_until_its_call_is(vault: Vault) -> None:
    asked = [LeftRequest(7, 1, 100.0), LeftRequest(8, 2, 200.0)]
    for request in asked:
        await vault.note_request("s1", request)
    assert await vault.left_requests("s1") == asked
    await vault.note_call("s1", 5, 55, 7)
    await vault.forget_request("s1", 8)
    assert await vault.left_requests("s1") == []
    assert await vault.left_calls("s1") == [(5, 55)]
    await vault.note_request("s1", asked[0])
    await vault.put_session("s2", 9, "text")
    await vault.remove_session("s1")
    assert await vault.left_requests("s1") == [] and await vault.left_calls("s1") == []


async def test_flood_waits_are_of_their_methods(vault: Vault) -> None:
    await vault.note_flood("s1", "phone.requestCall", 10.0)
    await vault.note_flood("s1", "contacts.resolvePhone", 20.0)
    await vault.note_flood("s1", "phone.requestCall", 30.0)
    assert await vault.flood_waits("s1") == {"phone.requestCall": 30.0, "contacts.resolvePhone": 20.0}
    assert await vault.flood_waits("s2") == {}


async def test_a_renewal_that_is_under_way_does_not_outlive_the_release(url: str) -> None:
    """A session that is let go while its lease is renewed is free for the next at once."""
    vault = Vault(url, Seal(KEY))
    await vault.open()
    lease = Lease(vault, "s1", "one", Renewals(vault, "one", LEASE_S))
    assert await lease.take()
    engine = make_engine(url)
    async with engine.begin() as connection:  # nobody else's renewal comes through
        await connection.execute(LEASES.update().values(expires_at=LEASES.c.expires_at))
        holding = asyncio.create_task(lease.hold(asyncio.sleep(3600)))
        await asyncio.sleep(RENEW_S + 0.5)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    await engine.dispose()
    await lease.release()
    await asyncio.sleep(1.0)
    assert await vault.lease_owner("s1") == ""
    assert not await lease.renew()
    await vault.close()


async def test_the_key_is_changed_while_the_vault_is_in_use(vault: Vault, url: str) -> None:
    new = bytes(reversed(KEY))
    await vault.put_session("s1", 7, "one")
    ready = Vault(url, Seal(KEY, (new,)))  # first everybody learns the new key
    await ready.open()
    moving = Vault(url, Seal(new, (KEY,)))
    await moving.open()
    moved = await asyncio.gather(moving.rotate(), moving.rotate())
    assert sum(moved) >= 2, "the session and the vault's own check, whoever was faster at each"
    assert await moving.rotate() == 0
    await moving.put_session("s2", 8, "two")
    for each in (moving, ready):
        assert [await each.get_session(name) for name in ("s1", "s2")] == ["one", "two"]
    last = Vault(url, Seal(new))
    await last.open()
    assert await last.get_session("s1") == "one"
    old = Vault(url, Seal(KEY))
    with pytest.raises(ConfigurationError, match="made with another key"):
        await old.open()
    for each in (ready, moving, last, old):
        await each.close()


def test_a_row_that_is_moved_does_not_open() -> None:
    seal = Seal(KEY)
    sealed = seal.close(b"value", "s1")
    with pytest.raises(WrongKey):
        seal.open(sealed, "s2")
    with pytest.raises(WrongKey):
        Seal(bytes(32), (KEY,)).rewrapped(sealed.wrapped_key, "s2")


def test_the_key_comes_from_a_file_or_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = base64.b64encode(KEY).decode()
    file = tmp_path / "key"
    file.write_text(f"{text}\n")
    monkeypatch.setenv("TELETRUNK_DATA", str(tmp_path))
    assert StorageSettings(vault_key_file=file).key() == KEY
    assert StorageSettings(vault_key_command=f"cat {file}").key() == KEY
    assert StorageSettings(vault_other_keys=SecretStr(f"{text}, {text}")).other_keys() == (KEY, KEY)
    for wrong, said in (
        ({"vault_key_command": "false"}, "TELETRUNK_VAULT_KEY_COMMAND: exit code 1"),
        ({"vault_key_command": "echo short"}, "TELETRUNK_VAULT_KEY_COMMAND: must be 32 bytes"),
        ({"vault_key_command": "/no/such/command"}, "TELETRUNK_VAULT_KEY_COMMAND: "),
        ({"vault_key_file": tmp_path / "none"}, "TELETRUNK_VAULT_KEY_FILE: "),
        ({"vault_key_file": file, "vault_key_command": "true"}, "give one of"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            StorageSettings(**wrong).key()


def test_no_key_shows(tmp_path: Path) -> None:
    """A canary in each secret: neither `repr` nor `str` nor a traceback's line lets it out."""
    canary = b"canary-canary-canary-canary-cana"
    text = base64.b64encode(canary).decode()
    settings = StorageSettings(data=tmp_path, vault_key=SecretStr(text), cluster_token=SecretStr("canary" * 4))
    shown = f"{settings!r} {settings} {Seal(canary, (canary,))!r} {Security('canary' * 4)!r}"
    assert "canary" not in shown
    assert text not in shown
    assert repr(canary)[2:-1] not in shown
