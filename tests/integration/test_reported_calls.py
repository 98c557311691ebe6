"""Whose word is good for a call's record: a Worker's, for the calls that were routed to it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine
from teletrunk.identity import Identity
from teletrunk.v1 import call_pb2, manager_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.db.database import SCHEMA, Database
from teletrunk_manager.db.grace import GRACE_S
from teletrunk_manager.db.tables import Member, Upgrade
from teletrunk_manager.mistakes import NotNow
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.vaults import require_own_vault

from tests.integration.manager_world import World
from tests.integration.test_fleet import Site, service_id

OUT, IN = call_pb2.DIRECTION_SIP_TO_TELEGRAM, call_pb2.DIRECTION_TELEGRAM_TO_SIP
NOT_ROUTED = "the Manager has not routed this call"
HOUR_S = 3_600.0


def rows(site: Site, statement: str, *values: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(site.manager.data / "manager.db", isolation_level=None)) as database:
        return database.execute(statement, values).fetchall()


def furnish(site: Site) -> None:
    """Two tenants, each with an account and a trunk; the second one's are for another Worker."""
    account = (
        "INSERT INTO accounts (account_id, user_id, phone, username, name, session_id, storage_id, owner, version) "
        "VALUES (?, ?, '', '', '', ?, 's', ?, 1)"
    )
    trunk = (
        "INSERT INTO trunks (trunk_id, login, sealed_password, account_id, priority, comment, codecs, administrator, "
        "version) VALUES (?, ?, '', ?, 0, '', 'PCMA', ?, 1)"
    )
    for number, name in enumerate(("mine", "other")):
        rows(site, account, name, number, f"session-{name}", name)
        rows(site, trunk, f"trunk-{name}", f"login-{name}", name, name)
    rows(site, "INSERT INTO assignments (account_id, worker_id) VALUES ('other', 'another')")


@contextlib.asynccontextmanager
async def thief(site: Site) -> AsyncIterator[tuple[str, Any]]:
    """Somebody with a Worker's certificate: its id, and the Manager."""
    worker = await site.join("worker", "w1", await site.invitation("worker"))
    await worker.says("enrolled")
    await worker.stop()
    identity = Identity("worker", service_id(worker, "worker"))
    async with site.channel(site.address, worker.data, identity, Identity("manager", "manager")) as channel:
        yield identity.id, manager_pb2_grpc.ManagerServiceStub(channel)


def record(worker_id: str, call_id: str, **fields: Any) -> call_pb2.CallRecord:
    now = time.time()
    made = call_pb2.CallRecord(call_id=call_id, worker_id=worker_id, direction=IN, invited_at=now, ended_at=now)
    made.MergeFrom(call_pb2.CallRecord(**fields))
    return made


def talk(seconds: float) -> dict[str, float]:
    now = time.time()
    return {"invited_at": now, "answered_at": now, "ended_at": now + seconds}


async def reported(manager: Any, given: call_pb2.CallRecord) -> str:
    """What the Manager says to it; empty: taken."""
    try:
        await manager.ReportCall(pb.ReportCallRequest(record=given), timeout=10)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error  # a Worker tries all others for ever
        return error.details() or ""
    return ""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path, exits)
        await site.start()
        furnish(site)
        yield site


async def test_a_stolen_worker_certificate_forges_no_talk(site: Site) -> None:
    async with thief(site) as (worker_id, manager):
        asked = pb.RouteIncomingRequest(
            call_id="c1", worker_id=worker_id, session_id="session-mine", caller=call_pb2.Peer(user_id=7)
        )
        proof = (await manager.RouteIncoming(asked, timeout=10)).proof
        whole = {"route_proof": proof, "account_id": "mine", "trunk_id": "trunk-mine"}
        forged = {
            "no proof": {**whole, "route_proof": None},
            "another call": {**whole, "call_id": "c2"},
            "another account": {**whole, "account_id": "other", "trunk_id": "trunk-other"},
            "no account": {**whole, "account_id": ""},
            "the other way": {**whole, "direction": OUT},
            "another mark": {**whole, "route_proof": call_pb2.RouteProof(routed_at=proof.routed_at, mark=bytes(32))},
            "another time": {
                **whole,
                "route_proof": call_pb2.RouteProof(routed_at=proof.routed_at - HOUR_S, mark=proof.mark),
            },
        }
        for how, fields in forged.items():
            given = record(worker_id, **({"call_id": "c1"} | talk(HOUR_S) | fields))
            assert NOT_ROUTED in await reported(manager, given), how
        foreign = record(worker_id, "c1", **talk(1), **{**whole, "trunk_id": "trunk-other"})
        assert await reported(manager, foreign) == "the trunk is another account's"
        for nonsense in ({"answered_at": 1.0}, {"ended_at": math.nan}, {"ended_at": math.inf}, {"invited_at": 9e12}):
            given = record(worker_id, "c1", **(talk(1) | nonsense), **whole)
            assert await reported(manager, given) == "the record's times make no sense"
        early = record(worker_id, "c1", **whole, invited_at=1.0, answered_at=2.0, ended_at=1.0 + 25 * HOUR_S)
        assert await reported(manager, early) == "the call did not begin when it was routed"
        for call_id in ("", "c/1", "c" * 65, "\x1b[31m"):
            assert "needs the call's id" in await reported(manager, record(worker_id, call_id, **talk(1), **whole))
        assert rows(site, "SELECT * FROM calls") == []
        assert await reported(manager, record(worker_id, "c1", **talk(HOUR_S), **whole)) == ""
        assert await reported(manager, record(worker_id, "c1", **talk(0), **whole)) == ""
    ((kept, seconds, routed),) = rows(site, "SELECT record, ended_at - answered_at, routed FROM calls")
    assert 0 < seconds < 60, "no call is longer than since it was routed, and a finished record stays as it is"
    assert routed and not call_pb2.CallRecord.FromString(kept).HasField("route_proof")


async def test_refused_calls_are_believed_so_many_and_are_nobodys_failures(site: Site) -> None:
    async with thief(site) as (worker_id, manager):
        at = time.time()  # one for all: they are counted by their own times
        refused = {
            "direction": OUT,
            "caller": "login-mine",
            "error_id": "worker-full",
            "invited_at": at,
            "ended_at": at,
        }
        assert await reported(manager, record(worker_id, "r0", **refused, account_id="other")) == ""
        for number in range(1, 340):
            assert await reported(manager, record(worker_id, f"r{number}", **refused)) == ""
        assert await reported(manager, record(worker_id, "z", **{**refused, "caller": "login-other"})) == ""
        assert "needs the row" in await reported(manager, record(worker_id, "x", **{**refused, "error_id": ""}))
        assert "needs the row" in await reported(manager, record(worker_id, "x", **refused, called="1" * 20_000))
        incoming = {"error_id": "subscription-limit", "account_id": "other"}
        assert await reported(manager, record(worker_id, "x", **incoming)) == ""
        assert await reported(manager, record(worker_id, "y", **(incoming | {"account_id": "mine"}))) == ""
    counted = dict(rows(site, "SELECT account_id, count(*) FROM calls WHERE NOT routed GROUP BY account_id"))
    assert counted == {"mine": 330 + 1, "other": 1}
    assert rows(site, "SELECT * FROM calls WHERE routed") == []


def upgraded(file: Path) -> None:
    """A database of the version before, which knows a Worker."""
    file.parent.mkdir()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        SCHEMA.upgrade(connection, "0016")
        connection.exec_driver_sql("INSERT INTO services VALUES ('old', 'worker', '', '', '', 1.0)")
    engine.dispose()


async def test_after_an_upgrade_a_storage_of_the_version_before_is_let_in_for_a_week(tmp_path: Path) -> None:
    upgraded(file := tmp_path / "data" / "manager.db")
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.open()
    member = Member(service_id="s", kind="storage", enrolled_at=1.0, revoked=False)
    try:
        async with database.transaction() as session:
            session.add(member)
            await session.flush()
            for proof in (b"", b"vault", b"", b"vault"):
                await require_own_vault(session, "s", proof)
            with pytest.raises(NotNow, match="has had another vault"):
                await require_own_vault(session, "s", b"another")
            await session.execute(sa.update(Upgrade).values(at=Upgrade.at - GRACE_S))
            with pytest.raises(NotNow, match=r"shows no vault.*storage approve s"):
                await require_own_vault(session, "s", b"")
    finally:
        await database.close()


async def test_after_an_upgrade_workers_of_the_version_before_are_believed_for_a_week(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path, exits)
        upgraded(site.manager.data / "manager.db")
        await site.start()
        furnish(site)
        async with thief(site) as (worker_id, manager):
            old = {"account_id": "mine", "trunk_id": "trunk-mine"}
            assert await reported(manager, record(worker_id, "c1", **talk(60), **old)) == ""
            theirs = {"account_id": "other", "trunk_id": "trunk-other"}
            assert "assigned to other" in await reported(manager, record(worker_id, "c2", **theirs))
            crossed = {"account_id": "mine", "trunk_id": "trunk-other"}
            assert "another account's" in await reported(manager, record(worker_id, "c3", **talk(60), **crossed))
            rows(site, "UPDATE upgrades SET at = at - ?", GRACE_S)
            assert NOT_ROUTED in await reported(manager, record(worker_id, "c4", **talk(60), **old))
        assert rows(site, "SELECT call_id, routed FROM calls") == [("c1", 1)]


async def test_a_mark_is_good_at_every_manager_with_the_key_and_after_a_restart(world: World) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    route = await world.route("office", trunk.password, call_id="c1", worker_id="w")
    proofs = Proofs((world.process.data / "secrets" / "manager.key").read_bytes())
    made = record(
        "w", "c1", direction=OUT, account_id=route.account_id, trunk_id=trunk.trunk.trunk_id, route_proof=route.proof
    )
    assert proofs.route_holds(made)
    made.worker_id = "another"
    assert not proofs.route_holds(made)
