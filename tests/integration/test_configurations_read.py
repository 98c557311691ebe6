"""What a configuration costs the database: nothing when only the services have changed, else what has changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager import configurations as configurations_module
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk, TrustedAddress
from teletrunk_manager.live import Attached, Live
from teletrunk_manager.parts import Told
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.stored import StoredReader


async def furnish(database: Database, ids: list[str]) -> None:
    """With an account and its trunk of each id."""
    async with database.transaction() as session:
        accounts = [{"account_id": id_, "user_id": n, "session_id": f"s/{id_}", "storage_id": "s"}
                    for n, id_ in enumerate(ids)]  # fmt: skip
        await session.execute(sa.insert(Account), accounts)
        trunks = [{"trunk_id": id_, "login": id_, "account_id": id_, "sealed_password": b""} for id_ in ids]
        await session.execute(sa.insert(Trunk), trunks)


@pytest.mark.parametrize("count", [1, 10_000])
async def test_a_pbx_that_registers_costs_no_look_at_all_trunks(
    database: Database, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configurations_module, "_AFRESH_S", 3_600.0)
    statements: list[str] = []
    ids = [f"{number:012x}" for number in range(count)]
    await furnish(database, ids)

    @sa.event.listens_for(database._engine.sync_engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    live = Live()
    configurations = Configurations(database, live, MemoryState(), PasswordSeal(bytes(32)))
    first, second = (Attached(name, "worker", "a", told=Told(in_parts=True)) for name in ("w1", "w2"))
    storage = Attached("s", "storage", "127.0.0.1:1")
    for service in (first, second, storage):
        live.attach(service)
    sending = asyncio.create_task(configurations.keep_sending())
    try:
        configurations.changed()
        while (await told(second)).more_follows:
            pass
        assert any("FROM trunks" in statement for statement in statements)
        statements.clear()
        first.beat(pb.Heartbeat(registered_trunk_ids=[ids[0]]))
        configurations.moved()
        assert [each.elsewhere for each in (await told(second)).sessions] == [True]
        assert statements == []
        async with database.transaction() as session:
            await session.execute(sa.delete(Trunk).where(Trunk.trunk_id == ids[0]))
        configurations.changed()
        assert list((await told(second)).gone_trunk_ids) == [ids[0]]
    finally:
        sending.cancel()


async def told(service: Attached) -> pb.WorkerConfig:
    async with asyncio.timeout(30):
        while True:
            response = await service.outbox.get()
            if response is not None and response.HasField("worker"):
                return response.worker


@pytest.mark.parametrize("count", [1, 2_000])
async def test_a_change_costs_the_rows_that_have_changed(database: Database, count: int) -> None:
    ids = [f"{number:012x}" for number in range(count)]
    await furnish(database, ids)
    reader = StoredReader(database, PasswordSeal(bytes(32)))
    first = await reader.read()
    async with database.transaction() as session:
        trunk = await session.get_one(Trunk, ids[0])
        trunk.version += 1  # as whoever changes its networks does
        session.add(TrustedAddress(trunk_id=trunk.trunk_id, network="192.0.2.0/24"))
        account = await session.get_one(Account, ids[-1])
        account.phone = "+491"
    second = await reader.read()
    trunks = [new for old, new in zip(first.trunks, second.trunks, strict=True) if new is not old]
    assert [(trunk.row.trunk_id, trunk.networks) for trunk in trunks] == [(ids[0], ["192.0.2.0/24"])]
    accounts = [new for old, new in zip(first.accounts, second.accounts, strict=True) if new is not old]
    assert [(account.account_id, account.phone) for account in accounts] == [(ids[-1], "+491")]
    async with database.transaction() as session:
        await session.execute(sa.delete(Account).where(Account.account_id == ids[0]))
    third = await reader.read()
    assert third.trunks == second.trunks[1:] and third.accounts == second.accounts[1:]
