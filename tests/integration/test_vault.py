"""The vault's promises, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk.config import ConfigurationError
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import KnownPeer, Vault

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


async def test_a_lease_has_one_owner_and_every_new_one_a_higher_fence(vault: Vault) -> None:
    assert await vault.take_lease("s1", "one", 30) == 1
    assert await vault.take_lease("s1", "two", 30) is None
    assert await vault.take_lease("s1", "one", 30) == 1  # renewed
    await vault.release_lease("s1", "one")
    assert await vault.take_lease("s1", "two", 0.0) == 2
    assert await vault.take_lease("s1", "one", 30) == 3  # the second's had run out
    assert await vault.take_lease("s1", "two", 30) is None


async def test_of_many_that_race_for_a_lease_one_wins(vault: Vault) -> None:
    for session in ("a", "b", "c"):
        taken = await asyncio.gather(*(vault.take_lease(session, f"owner{n}", 30) for n in range(8)))
        assert sorted(fence for fence in taken if fence) == [1]


async def test_peers_and_live_calls(vault: Vault) -> None:
    await vault.put_peers("s1", [KnownPeer(1, 11, "Ann", "", "ann", "15550100"), KnownPeer(2, 22)])
    await vault.put_peers("s1", [KnownPeer(1, 12, "Ann", "", "ann", "15550100")])
    assert await vault.find_peer("s1", username="ann") == KnownPeer(1, 12, "Ann", "", "ann", "15550100")
    assert await vault.find_peer("s2", username="ann") is None
    await vault.note_call("s1", 5, 55)
    assert await vault.left_calls("s1") == [(5, 55)]
    await vault.forget_call("s1", 5)
    assert await vault.left_calls("s1") == []
