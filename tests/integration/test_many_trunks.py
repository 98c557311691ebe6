"""One administrator with more trunks and networks than anybody needs: nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import PATIENCE_S, Attachment, worker_hello
from tests.integration.manager_world import World

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
            columns = [row[1] for row in database.execute("PRAGMA table_info(trunks)")]
            first = dict(zip(columns, database.execute("SELECT * FROM trunks").fetchone(), strict=True))
            for number in range(1, _MANY):
                row = {**first, "trunk_id": f"{number:012x}", "login": f"t{number}"}
                database.execute(f"INSERT INTO trunks VALUES ({','.join('?' * len(columns))})", [*row.values()])
                database.executemany(
                    "INSERT INTO trusted_addresses (trunk_id, network) VALUES (?, ?)",
                    [(row["trunk_id"], f"2001:db8:{number:x}:{k:x}:1:2:3:4/128") for k in range(_NETWORKS)],
                )
        yield world
    finally:
        await world.stop()


async def told(worker: Attachment) -> tuple[list[pb.TrunkSettings], pb.WorkerConfig]:
    """The trunks of the messages up to one that nothing follows, and that one."""
    trunks: list[pb.TrunkSettings] = []
    while (config := (await worker.response("worker")).worker).more_follows:
        trunks.extend(config.trunks)
    return [*trunks, *config.trunks], config


async def test_a_worker_is_told_of_any_number_of_trunks_and_then_of_what_changes(crowded: World) -> None:
    hello = worker_hello("worker-2")
    hello.worker.takes_parts = True
    worker, older = Attachment(crowded.wire, hello), Attachment(crowded.wire, worker_hello("worker-3"))
    async with asyncio.timeout(4 * PATIENCE_S):
        trunks, last = await told(worker)
        while len(last.trunk_ids) < _MANY:
            more, last = await told(worker)
            trunks.extend(more)
    known = {settings.trunk_id: settings for settings in trunks}
    assert set(known) == set(last.trunk_ids) and len(known) == _MANY
    assert sum(len(settings.networks) for settings in known.values()) == (_MANY - 1) * _NETWORKS
    await worker.beat()
    change = admin.ChangeTrunkRequest(trunk="t7", sha256_only=True, codecs=["PCMA"])
    await crowded.wire.admin.ChangeTrunk(change)
    changed, _ = await told(worker)
    assert [(settings.login, list(settings.codecs)) for settings in changed] == [("t7", ["PCMA"])]
    await older.beat()  # it is told nothing more than it can take, and its stream is up
