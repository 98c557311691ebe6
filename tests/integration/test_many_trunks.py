"""One administrator with more trunks and networks than anybody needs: nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_PEER, PbxAddress, TrunkOptions
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Trunk
from teletrunk_manager.disputes import Undisputed
from teletrunk_manager.domain import trunk_options
from teletrunk_manager.domain.claims import Claims
from teletrunk_manager.mistakes import Mistake

from tests.integration.manager_process import PATIENCE_S, Attachment, worker_hello
from tests.integration.manager_world import World
from tests.integration.rest_world import rest_api

_MANY, _NETWORKS = 1_100, 100


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[World]:
    """More trunks than one message of gRPC takes."""
    world = World(tmp_path / "data")
    await world.start()
    try:
        await world.add_account()
        await world.add_trunk("t0")
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "manager.db", timeout=10)) as database, database:
            for number, id_ in enumerate(repeat(database, "trunks", _MANY - 1, "trunk_id", "login")):
                database.executemany(
                    "INSERT INTO trusted_addresses (trunk_id, network) VALUES (?, ?)",
                    [(id_, f"2001:db8:{number:x}:{k:x}:1:2:3:4/128") for k in range(_NETWORKS)],
                )
        yield world
    finally:
        await world.stop()


async def told(service: Attachment, kind: Literal["worker", "storage"] = "worker") -> list[Any]:
    """The messages up to one that nothing follows."""
    messages = [getattr(await service.response(kind), kind)]
    while messages[-1].more_follows:
        messages.append(getattr(await service.response(kind), kind))
    return messages


def worker_that_takes_parts() -> pb.AttachRequest:
    hello = worker_hello("worker-2")
    hello.worker.takes_parts = True
    return hello


async def test_a_worker_is_told_of_any_number_of_trunks_and_then_of_what_changes(crowded: World) -> None:
    worker = Attachment(crowded.wire, worker_that_takes_parts())
    older = Attachment(crowded.wire, worker_hello("worker-3"))
    known: dict[str, pb.TrunkSettings] = {}
    trunk_ids: set[str] = set()
    async with asyncio.timeout(4 * PATIENCE_S):
        while len(trunk_ids) < _MANY:
            for message in await told(worker):
                assert message.changes_only and message.ByteSize() < 400_000
                known |= {settings.trunk_id: settings for settings in message.trunks}
                trunk_ids |= set(message.trunk_ids)
    assert set(known) == trunk_ids and len(known) == _MANY
    assert sum(len(settings.networks) for settings in known.values()) == (_MANY - 1) * _NETWORKS
    await worker.beat()
    change = admin.ChangeTrunkRequest(trunk="t0", sha256_only=True, codecs=["PCMA"])
    await crowded.wire.admin.ChangeTrunk(change)
    (changed,) = await told(worker)
    assert [(settings.login, list(settings.codecs)) for settings in changed.trunks] == [("t0", ["PCMA"])]
    await older.beat()  # it is told nothing more than it can take, and its stream is up


@pytest.mark.parametrize("count", [1, 1_000])
async def test_a_change_is_told_by_so_many_bytes_whatever_else_there_is(count: int, tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.start()
    try:
        await world.add_account()
        await world.add_trunk("t")
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "manager.db", timeout=10)) as database, database:
            repeat(database, "accounts", count - 1, "account_id", "user_id", "session_id")
            repeat(database, "trunks", count - 1, "trunk_id", "login")
            bans = [(f"2001:db8:{number:x}::/64", 4e9, 1) for number in range(1, count + 1)]
            database.executemany("INSERT INTO bans (network, until, times) VALUES (?, ?, ?)", bans)
        worker = Attachment(world.wire, worker_that_takes_parts())
        named = {"sessions": 0, "trunk_ids": 0, "bans": 0, "trunks": 0}
        async with asyncio.timeout(8 * PATIENCE_S):
            while min(named.values()) < count:
                for message in await told(worker):
                    assert message.ByteSize() < 400_000
                    named = {name: known + len(getattr(message, name)) for name, known in named.items()}
                worker.repeat()
                world.storage.repeat()
        assert set(named.values()) == {count}, "each is said once"
        await worker.beat()
        await world.storage.beat()
        fleet: Any = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
        await fleet.LiftBan(fleet_pb2.LiftBanRequest(address="2001:db8:1::/64"))
        assert (await worker.response("worker")).worker == pb.WorkerConfig(
            changes_only=True, gone_bans=["2001:db8:1::/64"]
        )
        worker.say(pb.AttachRequest(banned=pb.Ban(network="192.0.2.1", until=4e9, times=1)))
        banned = (await worker.response("worker")).worker
        assert [ban.network for ban in banned.bans] == ["192.0.2.1"] and banned.ByteSize() < 50
        await world.wire.admin.RemoveTrunk(admin.RemoveTrunkRequest(trunk="t"))
        assert len((await worker.response("worker")).worker.gone_trunk_ids) == 1
        await worker.beat()
        await world.storage.beat()
        hello = pb.StorageHello(storage_id="storage-2", address="127.0.0.1:1", takes_parts=True)
        storage = Attachment(world.wire, pb.AttachRequest(storage=hello))
        granted = await told(storage, "storage")
        assert sum(len(message.sessions) for message in granted) == count
        Attachment(world.wire, worker_hello("worker-3"))
        assert await told(storage, "storage") == [pb.StorageConfig(changes_only=True, worker_ids=["worker-3"])]
        await world.storage.leave()
        away = await told(worker)
        assert sum(len(message.gone_sessions) for message in away) == count, "which is a change of them all"
    finally:
        await world.stop()


def repeat(database: sqlite3.Connection, table: str, times: int, *columns: str) -> list[str]:
    """The first row again, with ids of its own in these columns; returns the ids."""
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    first = dict(zip(names, database.execute(f"SELECT * FROM {table}").fetchone(), strict=True))
    ids = [str(10**11 + number) for number in range(times)]
    rows = [[*{**first, **dict.fromkeys(columns, id_)}.values()] for id_ in ids]
    database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(names))})", rows)
    return ids


async def test_one_administrator_has_so_many_trunks_and_networks(tmp_path: Path) -> None:
    limits = {"TELETRUNK_ADMINISTRATOR_TRUNKS": "2", "TELETRUNK_ADMINISTRATOR_NETWORKS": "3"}
    async with rest_api(tmp_path / "data", **limits) as api:
        await api.world.add_account()
        await api.token("tenant", "administrator")
        assert (await api.ask("PUT", "/v1/accounts/@ann/shares/tenant", body={}))[0] == 204

        async def add(login: str, who: str = "tenant") -> tuple[int, str]:
            status, answer = await api.ask("POST", "/v1/trunks", who, body={"account": "@ann", "login": login})
            return status, answer.get("detail", "")

        async def trust(login: str, count: int) -> tuple[int, str]:
            body = {"addresses": [f"192.0.2.{number}" for number in range(count)]}
            status, answer = await api.ask("PUT", f"/v1/trunks/{login}/trusted", "tenant", body=body)
            return status, answer.get("detail", "")

        assert [(await add(login))[0] for login in ("a", "b", "c")] == [201, 201, 400]
        assert (await add("c"))[1].startswith("too many trunks: remove some of your 2")
        assert (await add("d", "root"))[0] == 201, "an owner's are counted apart"
        assert [(await trust(*one))[0] for one in (("a", 2), ("a", 3), ("b", 1), ("a", 2), ("b", 1))] == [
            204, 204, 400, 204, 204
        ]  # fmt: skip
        assert (await trust("b", 2))[1].startswith("too many trusted addresses: your trunks may have 3 together")
        assert (await api.ask("DELETE", "/v1/trunks/a", "tenant"))[0] == 204
        assert (await add("c"))[0] == 201


async def test_what_is_claimed_between_the_look_and_the_change_is_found(database: Database) -> None:
    """And nothing else is read then: who writes keeps everybody else from it."""
    peers = {name: options(f"192.0.2.{number}") for number, name in enumerate(("a", "b"), 1)}
    async with database.transaction() as session:
        session.add(Account(account_id="x", user_id=1, session_id="s", storage_id="s"))
        session.add_all(trunk(name, written) for name, written in peers.items())
    mine = Claims.of(trunk_options.read(options("198.51.100.1")), ["203.0.113.0/24"])
    undisputed = await Undisputed.looked_up(database, mine, "me")
    async with database.transaction() as session:
        await undisputed.confirm(session, mine)
    async with database.transaction() as session:
        session.add(trunk("c", options("203.0.113.7:5060")))
    with pytest.raises(Mistake, match="is a PBX of another administrator"):
        async with database.transaction() as session:
            await undisputed.confirm(session, mine)
    with pytest.raises(Mistake, match="is a PBX of another administrator"):
        await Undisputed.looked_up(database, mine, "me")


async def test_another_trust_list_is_another_version(world: World) -> None:
    """By it the others' claims are confirmed, and Workers told."""
    await world.add_account()
    made = (await world.add_trunk("t")).trunk
    stub: Any = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
    await stub.Trust(fleet_pb2.TrustRequest(trunk="t", addresses=["192.0.2.7"]))
    changed = (await world.wire.admin.ListTrunks(admin.ListTrunksRequest())).trunks[0]
    assert (changed.version, list(changed.trusted_addresses)) == (made.version + 1, ["192.0.2.7/32"])
    mapped = ["::ffff:192.0.2.7", "::ffff:198.51.100.0/120", "2001:db8::/32"]  # calls over IPv4 come from IPv4
    await stub.Trust(fleet_pb2.TrustRequest(trunk="t", addresses=mapped))
    changed = (await world.wire.admin.ListTrunks(admin.ListTrunksRequest())).trunks[0]
    assert list(changed.trusted_addresses) == ["192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"]


def options(address: str) -> str:
    pbx = PbxAddress(address=address)
    return trunk_options.written(TrunkOptions(kind=TRUNK_KIND_PEER, pbx=pbx))


def trunk(name: str, written: str) -> Trunk:
    return Trunk(trunk_id=name, login=name, account_id="x", administrator="other", sealed_password=b"", options=written)
