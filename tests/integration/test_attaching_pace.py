"""A certificate that attaches without end: it has a pace, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import PATIENCE_S, Attachment, worker_hello
from tests.integration.manager_world import World

_AT_ONCE = 60
_COUNTED = """
CREATE TABLE writes (service_id TEXT);
CREATE TRIGGER new AFTER INSERT ON services BEGIN INSERT INTO writes VALUES (new.service_id); END;
CREATE TRIGGER changed AFTER UPDATE ON services BEGIN INSERT INTO writes VALUES (new.service_id); END;
"""


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[World]:
    """A Manager whose database counts the writes of services."""
    world = World(tmp_path / "data")
    await world.start()
    try:
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "manager.db", timeout=10)) as database:
            database.executescript(_COUNTED)
        yield world
    finally:
        await world.stop()


async def attached_and_gone(world: World) -> tuple[grpc.StatusCode, str]:
    """A hello, the first word of the answer, and the end of the stream."""
    hello = worker_hello("stolen")

    async def requests() -> AsyncIterator[pb.AttachRequest]:
        yield hello
        await asyncio.Event().wait()

    stream = world.wire.manager.Attach(requests())
    async with asyncio.timeout(PATIENCE_S):
        try:
            await stream.read()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
    stream.cancel()
    return grpc.StatusCode.OK, ""


async def test_who_attaches_without_end_costs_so_many_writes(counted: World, tmp_path: Path) -> None:
    answers = [await attached_and_gone(counted) for _ in range(3 * _AT_ONCE)]
    refused = [text for status, text in answers if status is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert len(refused) > _AT_ONCE and {status for status, _ in answers[:_AT_ONCE]} == {grpc.StatusCode.OK}
    assert refused[0].startswith("too many streams of worker stolen: wait ")
    honest = Attachment(counted.wire, worker_hello("honest"))
    await honest.beat()
    await counted.worker.beat()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "manager.db", timeout=10)) as database:
        writes = "SELECT count(*) FROM writes WHERE service_id = 'stolen'"
        assert database.execute(writes).fetchone()[0] <= 2 * (len(answers) - len(refused)), "to come and to leave"
    await counted.process.line_with("attaches again and again")
    said = [line for line in counted.process.lines if "attaches again and again" in line]
    assert len(said) == 1 and '"stolen"' in said[0]
