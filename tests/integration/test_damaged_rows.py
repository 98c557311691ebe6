"""One damaged row, and who notices: its owner, and nobody else. What the database's errors say of values: nothing."""

from __future__ import annotations

import traceback
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from teletrunk.config import ConfigurationError
from teletrunk.database import make_engine
from teletrunk.v1 import admin_pb2, call_pb2, live_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.live import Live
from teletrunk_manager.passwords import PasswordSeal, SealBroken, trunk_label
from teletrunk_manager.state import Mark, Telling
from teletrunk_session_store.vault.seal import Seal, Sealed, WrongKey
from teletrunk_session_store.vault.store import Vault

from tests.integration.manager_process import mistake, refusal
from tests.integration.manager_world import World

KEY = bytes(range(32))
SHORT = [b"", b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 12, b"\0" * 27, b"\0" * 28]


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}"
    return str(await request.getfixturevalue("postgres").database())


async def execute(url: str, statement: str, **values: object) -> None:
    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.text(statement), values)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("short", SHORT)
def test_what_is_too_short_does_not_open(short: bytes) -> None:
    seal = Seal(KEY, (bytes(32),))
    whole = seal.close(b"value", "s1")
    for sealed in (Sealed(short, whole.value), Sealed(whole.wrapped_key, short)):
        with pytest.raises(WrongKey):
            seal.open(sealed, "s1")
    with pytest.raises(WrongKey):
        seal.rewrapped(short, "s1")
    with pytest.raises(SealBroken):
        PasswordSeal(KEY).open(short, trunk_label("t1"))


async def test_a_nul_in_what_strangers_and_pbxs_say_is_no_error_of_the_database(world: World) -> None:
    """PostgreSQL's texts hold none: a login would make the Manager look broken, a dialled number block all records."""
    assert (await refusal(world.register("a\0b", "x")))[0] == "login-not-found"
    record = call_pb2.CallRecord(call_id="c1", worker_id="w", called="\0", caller="a\0b")
    await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    kept = (await world.wire.admin.GetCall(admin_pb2.GetCallRequest(call_id="c1"))).record
    assert (kept.called, kept.caller) == ("\ufffd", "a\ufffdb")
    page = admin_pb2.ListTrunksRequest(page="AA")
    assert (await mistake(world.wire.admin.ListTrunks(page)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    record = call_pb2.CallRecord(call_id="c2", worker_id="w", sip_status=4_000_000_000)
    status, said = await mistake(world.wire.manager.ReportCall(pb.ReportCallRequest(record=record)))
    assert (status, said) == (grpc.StatusCode.INVALID_ARGUMENT, "the record's SIP status is none")
    assert not [line for line in world.process.lines if "database failed" in line]


@pytest.mark.parametrize("short", [b"", b"\0" * 5, b"\0" * 40])
async def test_a_damaged_row_of_the_vault_stops_no_start(url: str, short: bytes) -> None:
    vault = Vault(url, Seal(KEY))
    await vault.open()
    for number in range(3):
        await vault.put_session(f"s{number}", number, f"session {number}")
    await vault.close()
    await execute(url, "UPDATE sessions SET wrapped_key = :short WHERE session_id = 's0'", short=short)
    await execute(url, "UPDATE sessions SET value = :short WHERE session_id = 's1'", short=short)
    await execute(url, "UPDATE vault SET value = :short", short=short)
    new = bytes(reversed(KEY))
    moving = Vault(url, Seal(new, (KEY,)))
    await moving.open()
    assert await moving.rotate() >= 1
    assert await moving.get_session("s2") == "session 2"
    for damaged in ("s0", "s1"):
        with pytest.raises(WrongKey):
            await moving.get_session(damaged)
    await moving.close()
    stranger = Vault(url, Seal(bytes(32)))
    with pytest.raises(ConfigurationError, match="made with another key"):
        await stranger.open()
    await stranger.close()


async def test_a_trunk_whose_password_is_damaged_stops_no_start(world: World, tmp_path: Path) -> None:
    await world.add_account()
    damaged, whole = await world.add_trunk("a"), await world.add_trunk("b")
    url = world.process._environment.get(
        "TELETRUNK_DATABASE_URL", f"sqlite+aiosqlite:///{world.process.data}/manager.db"
    )
    await execute(url, "UPDATE trunks SET sealed_password = :short WHERE login = 'a'", short=b"\0" * 5)
    await world.restart()
    assert (await world.register("b", whole.password)).login == "b"
    with pytest.raises(Exception, match="Database error"):
        await world.register("a", damaged.password)


def test_a_damaged_record_of_the_shared_state_hides_only_its_service() -> None:
    live = Live()
    whole = live_pb2.LiveService(service_id="w1", kind="worker", address="a").SerializeToString()
    for service_id, record in {"w1": whole, "w2": b"\xff\xff", "s1": whole[:5]}.items():
        live.hear(service_id, Telling(Mark("stamp"), True, [record]), 0.0)
    assert [seen.service_id for seen in live.of_kind("worker")] == ["w1"]


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("INSERT INTO t VALUES (:a, :b, :c)", {"a": 4711, "b": "x", "c": "canary"}),  # there already
        ("INSERT INTO t VALUES (:a, :b, :c)", {"a": 4712, "b": "bad", "c": "canary"}),
        ("INSERT INTO t VALUES (:a, :b, :c)", {"a": 4712, "b": None, "c": "canary"}),
        ("INSERT INTO t VALUES (:a, :b, :c, 1)", {"a": 4712, "b": "x", "c": "canary"}),
        ("INSERT INTO t VALUES (:a, :b, :c)", {"a": "canary", "b": "x", "c": "canary"}),
        ("INSERT INTO t VALUES (CAST(CAST(:c AS varchar) AS integer) + :a, NULL, :c)", {"a": 4711, "c": "canary"}),
    ],
)
async def test_an_error_of_the_database_shows_no_values(url: str, statement: str, values: dict[str, object]) -> None:
    await execute(url, "CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR(9) NOT NULL, c VARCHAR, CHECK (b <> 'bad'))")
    await execute(url, "INSERT INTO t VALUES (4711, 'x', 'canary')")
    try:
        await execute(url, statement, **values)
    except SQLAlchemyError as error:
        told = "".join(traceback.format_exception(error)) + str(error) + repr(error)
        source = Path(__file__).read_text()
        told = "\n".join(line for line in told.splitlines() if line.strip() not in source)
        assert "canary" not in told and "4711" not in told and "4712" not in told
        assert any(word in told for word in ("t_pkey", "t.a", "t_b_check", "NOT NULL", "not-null", "b <>", "invalid",
                                             "columns", "expressions", "mismatch", "bad")), told  # fmt: skip
    else:
        raise AssertionError("it worked")
