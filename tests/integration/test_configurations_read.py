"""What a configuration costs the database: nothing when only the services have changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager import configurations as configurations_module
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.live import Attached, Live
from teletrunk_manager.parts import Told
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.state.memory import MemoryState


@pytest.mark.parametrize("count", [1, 10_000])
async def test_a_pbx_that_registers_costs_no_look_at_all_trunks(
    database: Database, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configurations_module, "_AFRESH_S", 3_600.0)
    statements: list[str] = []
    ids = [f"{number:012x}" for number in range(count)]
    async with database.transaction() as session:
        accounts = [{"account_id": id_, "user_id": n, "session_id": f"s/{id_}", "storage_id": "s"}
                    for n, id_ in enumerate(ids)]  # fmt: skip
        await session.execute(sa.insert(Account), accounts)
        trunks = [{"trunk_id": id_, "login": id_, "account_id": id_, "sealed_password": b""} for id_ in ids]
        await session.execute(sa.insert(Trunk), trunks)

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
