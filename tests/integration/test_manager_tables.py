"""What an older Manager beside this one leaves in the tables, and what strangers write in requests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import time

import pytest
import sqlalchemy as sa
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.v1 import admin_pb2 as pb
from teletrunk_manager.administrators import Administrators
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import ApiToken, Member
from teletrunk_manager.fleet import Fleet
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.tokens import Tokens


def configurations(database: Database) -> Configurations:
    return Configurations(database, Live(), MemoryState(), PasswordSeal(bytes(32)))


async def test_an_owner_s_token_of_an_older_manager_sees_all(database: Database) -> None:
    async with database.transaction() as session:
        secret_hash = hashlib.sha256(b"s").digest()
        session.add(ApiToken(name="boss", role="owner", secret_hash=secret_hash, created_at=1.0, sees_all=False))
    holder = await Tokens(database).holder("s")
    assert holder is not None and holder.sees_all
    assert (await Tokens(database).one("boss")).scope == "all"


@pytest.mark.parametrize("years", [11, 1e6, math.inf, math.nan])
async def test_a_token_lives_ten_years_at_most(database: Database, years: float) -> None:
    asked = pb.AddTokenRequest(name="ann", role="viewer", expires_at=time.time() + years * 366 * 86_400)
    with pytest.raises(Mistake, match="too long"):
        await Tokens(database).add(asked)


@pytest.mark.parametrize("number", ["9" * 30, str(2**63), "-" + "9" * 30, "1" * 5_000])
async def test_a_page_is_a_number_that_the_database_holds(database: Database, number: str) -> None:
    page = base64.urlsafe_b64encode(number.encode()).decode().rstrip("=")
    with pytest.raises(Mistake, match="page: give what"):
        await Administrators(database, configurations(database)).changes(pb.ListChangesRequest(page=page))
    assert not database.failing


async def test_a_revocation_whose_refresh_failed_counts_soon_without_redis(database: Database) -> None:
    fleet, worker = Fleet(database, Live(), configurations(database)), Identity("worker", "w1")
    async with database.transaction() as session:
        session.add(Member(service_id=worker.id, kind=worker.kind, enrolled_at=1.0, revoked=False))
    await fleet.refresh()
    async with database.transaction() as session:
        await session.execute(sa.update(Member).values(revoked=True))
        await session.execute(sa.text("ALTER TABLE members RENAME TO away"))
    with pytest.raises(Refusal):
        await fleet.refresh()
    async with database.transaction() as session:
        await session.execute(sa.text("ALTER TABLE away RENAME TO members"))
    looking = asyncio.create_task(fleet.keep_current(alone=True))
    try:
        async with asyncio.timeout(9):
            while fleet.is_current(worker):
                await asyncio.sleep(0.02)
    finally:
        looking.cancel()
