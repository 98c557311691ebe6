"""Services that are gone for good are forgotten, and what nobody else can do is not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
from teletrunk import rpc
from teletrunk.identity import Identity
from teletrunk.v1 import admin_pb2, fleet_pb2, fleet_pb2_grpc, manager_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.joining import Cluster
from tests.integration.manager_process import Attachment, mistake, worker_hello
from tests.integration.manager_world import World
from tests.integration.test_fleet import attached, command, service_id, until
from tests.servers import Postgres

PATIENCE_S = 4.0
NOT_NOW = grpc.StatusCode.FAILED_PRECONDITION


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with contextlib.AsyncExitStack() as exits:
        cluster = Cluster(tmp_path, exits, RETIRE_HOURS=str(PATIENCE_S / 3_600))
        await cluster.start()
        yield cluster


def account(cluster: Cluster, name: str, storage: str, *workers: str) -> None:
    """An account as it stands in the database: to sign one in is other tests' matter."""
    with contextlib.closing(sqlite3.connect(cluster.manager.data / "manager.db", isolation_level=None)) as database:
        database.execute("INSERT INTO accounts (account_id, user_id, phone, username, name, session_id, storage_id, "
                         "owner, version) VALUES (?, ?, ?, '', '', ?, ?, '', 1)",
                         (name, sum(name.encode()), f"+{name}", f"session-{name}", storage))  # fmt: skip
        for worker in workers:
            database.execute("INSERT INTO assignments (account_id, worker_id) VALUES (?, ?)", (name, worker))


async def test_a_worker_that_came_by_a_token_and_is_gone_is_forgotten(cluster: Cluster) -> None:
    await cluster.join_token("worker", 1)
    worker = await cluster.run(cluster.service("worker", "w1"))
    invited = await cluster.join("worker", "w2", await cluster.invitation("worker"))
    for _ in "12":
        await cluster.manager.says("service attached")
    name, invited_name = service_id(worker, "worker"), service_id(invited, "worker")
    account(cluster, "1550100", "s", name, "another")
    account(cluster, "1550101", "s", name)
    assert (await command(cluster.manager.data, "worker", "drain", name))[0] == 0
    assert await worker._process.wait() == 3, "it leaves when it is drained, and is a member yet"
    await invited.stop()
    assert (await cluster.manager.says("service retired"))["id"] == name

    assert name not in await attached(cluster)
    assert invited_name in await attached(cluster), "whom a person has invited, a person removes"
    assert cluster.rows("SELECT * FROM drains") == []
    assert cluster.rows("SELECT account_id, worker_id FROM assignments ORDER BY account_id") == [
        ("1550100", "another"), ("1550101", name),
    ], "an account that was for it alone is not everybody's now"  # fmt: skip
    written = cluster.rows("SELECT kind, action FROM changes WHERE who = 'manager/retirement'")
    assert sorted(written) == [("assignments", "delete"), ("drains", "delete"), ("members", "update")]
    assert [token["members"] for token in await cluster.tokens()] == [0]
    async with cluster.channel(
        cluster.address, worker.data, Identity("worker", name), Identity("manager", "manager")
    ) as channel:
        asked = manager_pb2_grpc.ManagerServiceStub(channel).Renew(pb.RenewRequest(), timeout=5)
        assert (await mistake(asked))[0] is grpc.StatusCode.UNAUTHENTICATED

    code, said = await command(cluster.manager.data, "worker", "remove", "--yes", invited_name)
    assert code == 0, said
    assert await attached(cluster) == {}


async def test_after_an_outage_of_the_manager_everybody_comes_back_first(cluster: Cluster) -> None:
    await cluster.join_token("worker", 1)
    worker = await cluster.run(cluster.service("worker", "w1"))
    await cluster.manager.says("service attached")
    cluster.manager._process.kill()
    await cluster.manager._process.wait()
    killed_at = time.monotonic()

    async def long_gone() -> bool:
        return time.monotonic() - killed_at > 1.5 * PATIENCE_S

    await until(long_gone)
    await cluster.start()
    await cluster.manager.says("service attached")
    started_at = time.monotonic()

    async def watched() -> bool:
        return time.monotonic() - started_at > 2 * PATIENCE_S

    await until(watched)
    assert await attached(cluster) == {service_id(worker, "worker"): True}
    assert not [line for line in cluster.manager.lines if line["event"] == "service retired"]


async def test_a_service_can_say_that_it_leaves_for_good(cluster: Cluster) -> None:
    worker = await cluster.join("worker", "w1", await cluster.invitation("worker"))
    await cluster.manager.says("service attached")
    code, said = await command(worker.data, "worker", "leave")
    assert code == 2 and "another worker that still runs: stop it" in said
    await worker.stop()
    code, said = await command(worker.data, "worker", "leave")
    assert code == 0 and "no member any more" in said
    assert await attached(cluster) == {}
    code, said = await command(cluster.directory / "nobody", "worker", "leave")
    assert code == 1 and "is not the data directory of a worker" in said


async def test_a_storage_that_alone_has_sessions_is_kept(cluster: Cluster) -> None:
    await cluster.join_token("storage", 1)
    storage = await cluster.run(cluster.service("storage", "s1"))
    await cluster.manager.says("service attached")
    name = service_id(storage, "storage")
    account(cluster, "1550100", name)
    await storage.stop()
    kept = await cluster.manager.says("service is away for long and is kept")
    assert kept["id"] == name and "+1550100: no other Storage has the session" in kept["reason"]
    assert name in await attached(cluster)
    code, said = await command(cluster.manager.data, "storage", "remove", "--yes", name)
    assert code == 1 and "+1550100: no other Storage has the session" in said
    assert (await command(cluster.manager.data, "account", "remove", "+1550100", "--yes"))[0] == 0
    assert (await cluster.manager.says("service retired"))["id"] == name


async def test_postgresql_forgets_them_too(tmp_path: Path, postgres: Postgres) -> None:
    async with contextlib.AsyncExitStack() as exits:
        hours = str(PATIENCE_S / 3_600)
        cluster = Cluster(tmp_path, exits, RETIRE_HOURS=hours, DATABASE_URL=await postgres.database())
        await cluster.start()
        await cluster.join_token("worker", 1)
        worker = await cluster.run(cluster.service("worker", "w1"))
        await cluster.manager.says("service attached")
        await worker.stop()
        await cluster.manager.says("service retired")
        assert await attached(cluster) == {}


async def remove(world: World, service_id: str) -> None:
    stub: Any = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
    await stub.RemoveService(fleet_pb2.RemoveServiceRequest(service_id=service_id), timeout=rpc.DEADLINE_S)


async def listed(world: World) -> set[str]:
    return {service.id for service in (await world.wire.admin.ListServices(admin_pb2.ListServicesRequest())).services}


async def test_people_remove_what_is_gone_and_nothing_that_is_needed(world: World) -> None:
    fleet: Any = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
    known = await world.add_account()
    assert await mistake(remove(world, "nobody")) == (
        grpc.StatusCode.NOT_FOUND,
        "there is no service nobody: teletrunk worker list and storage list show them",
    )
    status, text = await mistake(remove(world, "worker-1"))
    assert status is NOT_NOW and "worker-1 is attached: stop it first" in text

    await fleet.Assign(fleet_pb2.AssignRequest(account=known.account_id, worker_ids=["worker-1"]))
    await world.worker.leave()
    status, text = await mistake(remove(world, "worker-1"))
    assert status is NOT_NOW and f"{known.phone}: for this Worker only" in text
    another = Attachment(world.wire, worker_hello("worker-2"))
    await another.beat()
    await fleet.Assign(fleet_pb2.AssignRequest(account=known.account_id, worker_ids=["worker-1", "worker-2"]))
    await another.leave()
    await remove(world, "worker-1")
    assert "worker-1" not in await listed(world)

    await world.storage.leave()
    status, text = await mistake(remove(world, "storage-1"))
    assert status is NOT_NOW and known.phone in text
    hello = pb.StorageHello(storage_id="storage-2", name="s", version="1", address="127.0.0.1:5052")
    other = Attachment(world.wire, pb.AttachRequest(storage=hello))
    runs = pb.SessionReport(session_id=known.session_id, state=pb.SESSION_STATE_ACTIVE)
    await other.beat(pb.Heartbeat(sessions=[runs]))  # out of the vault that both have
    await remove(world, "storage-1")
    assert await listed(world) == {"storage-2", "worker-2"}
    await other.leave()
    await asyncio.sleep(0)
    accounts = (await world.wire.admin.ListAccounts(admin_pb2.ListAccountsRequest())).accounts
    assert [each.storage_id for each in accounts] == ["storage-2"], "it lives there from now on"
    again = Attachment(world.wire, worker_hello())
    await again.beat()
    assert "worker-1" in await listed(world), "without certificates whoever comes is there"
