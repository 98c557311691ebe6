"""Records on a disk that takes its time: the loop goes on, and they come in order."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from teletrunk.v1 import call_pb2
from teletrunk_worker.links.journal import Journal
from teletrunk_worker.links.spool import Spool


def _record(call_id: str, **fields: object) -> call_pb2.CallRecord:
    return call_pb2.CallRecord(call_id=call_id, invited_at=100.0, **fields)  # type: ignore[arg-type]


async def _until_somebody_reads(pipe: Path) -> int:
    """Opening a pipe to write waits for its reader, as a slow disk does; this end is the disk getting on."""
    return await asyncio.to_thread(os.open, pipe, os.O_RDONLY)


async def test_the_loop_waits_for_no_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    os.mkfifo(tmp_path / "open" / "c1.part")  # what the record is written into
    journal = Journal(spool)
    began = _record("c1")
    journal.note(began)
    began.ended_by = "pbx"  # the call goes on meanwhile
    ended = journal.end(began)
    journal.note(_record("c2"))
    async with asyncio.timeout(5):
        for _ in range(20):
            await asyncio.sleep(0.01)  # the loop's own pace
    assert not ended.done() and threading.active_count() > 1
    disk = await _until_somebody_reads(tmp_path / "open" / "c1.part")
    await ended
    os.close(disk)
    assert [record.ended_by for record in await journal.waiting(10)] == ["pbx"] and journal.count == 1
    await journal.delivered(began)
    await journal.close()
    assert journal.count == 0
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["c2.json"]


async def test_the_oldest_come_first_and_not_all_at_once(tmp_path: Path) -> None:
    journal = Journal(Spool(tmp_path))
    for number in (3, 1, 2):
        journal.end(_record(f"c{number}"))
    assert [record.call_id for record in await journal.waiting(2)] == ["c1", "c2"]
    assert journal.count == 3
    await journal.put_aside(_record("c1"))
    await journal.delivered(_record("c2"))
    assert [record.call_id for record in await journal.waiting(2)] == ["c3"]
    await journal.close()
    assert (tmp_path / "c1.refused").exists()


async def test_nothing_is_touched_while_no_call_is_up(tmp_path: Path) -> None:
    """The last times of calls cost nothing without calls, and are kept for a call that comes later."""
    spool = Spool(tmp_path)
    journal = Journal(spool)
    touching = asyncio.create_task(journal.keep_touching())
    await asyncio.sleep(0)
    journal.note(_record("c1"))
    await journal.waiting(1)  # what was asked for before is done
    file = tmp_path / "open" / "c1.json"
    os.utime(file, (1, 1))
    async with asyncio.timeout(10):
        while file.stat().st_mtime < 2:
            await asyncio.sleep(0.01)
    await journal.end(_record("c1"))
    touching.cancel()
    await journal.close()
