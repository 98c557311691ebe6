"""Call records on the Worker's disk: what a kill or a full disk leaves there, and what a successor makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from teletrunk.v1 import call_pb2
from teletrunk_worker.links.spool import Spool

UP = call_pb2.CallRecord(call_id="c1", invited_at=100.0, answered_at=101.0)
FINISHED = call_pb2.CallRecord(call_id="c1", invited_at=100.0, answered_at=101.0, ended_at=104.2, ended_by="pbx")
# The limit stands for a full disk: every write fails, and files can still be renamed, touched and removed.
_FULL = """
import resource, sys
from pathlib import Path
from teletrunk.v1 import call_pb2
from teletrunk_worker.links.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
spool = Spool(Path(sys.argv[1]))
spool.recover()
spool.end(call_pb2.CallRecord(call_id="c0", ended_by="pbx"))
print("waiting", [(record.call_id, record.recovered) for record in spool.waiting()], spool.count)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for record in list(spool.waiting())[:1]:
    spool.delivered(record)
"""


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*"))


def test_a_delivered_record_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.note(UP)
    shutil.copy(tmp_path / "open" / "c1.json", tmp_path / "kept")
    spool.end(FINISHED)
    (tmp_path / "kept").rename(tmp_path / "open" / "c1.json")  # its removal failed
    assert [*spool.waiting()] == [FINISHED]
    spool.delivered(FINISHED)
    assert files(tmp_path) == [] and spool.count == 0


def test_the_managers_mark_outlives_a_restart_bit_by_bit(tmp_path: Path) -> None:
    proof = call_pb2.RouteProof(routed_at=1764184527.1234567, mark=bytes(range(32)))
    Spool(tmp_path).end(call_pb2.CallRecord(call_id="c1", ended_by="pbx", route_proof=proof))
    Spool(tmp_path).note(call_pb2.CallRecord(call_id="c2", route_proof=proof))
    successor = Spool(tmp_path)
    successor.recover()
    assert [record.route_proof for record in successor.waiting()] == [proof, proof]


def test_a_call_that_has_a_finished_record_is_not_recovered(tmp_path: Path) -> None:
    """As when the Worker is killed after the finished record has its name, and before the open one is removed."""
    spool = Spool(tmp_path)
    spool.note(UP)
    shutil.copy(tmp_path / "open" / "c1.json", tmp_path / "kept")
    spool.end(FINISHED)
    (tmp_path / "kept").rename(tmp_path / "open" / "c1.json")
    successor = Spool(tmp_path)
    successor.recover()
    assert [*successor.waiting()] == [FINISHED]
    assert files(tmp_path) == ["c1.json"]


def test_nor_is_one_whose_record_was_put_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.end(FINISHED)
    spool.put_aside(FINISHED)
    spool.note(UP)
    successor = Spool(tmp_path)
    successor.recover()
    assert [*successor.waiting()] == [] and files(tmp_path) == ["c1.refused"]


def test_a_recovered_record_says_so_and_ends_when_the_call_was_last_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.note(UP)
    os.utime(tmp_path / "open" / "c1.json", (250.0, 250.0))
    successor = Spool(tmp_path)
    successor.touch()  # it is nobody's call any more
    successor.recover()
    (record,) = successor.waiting()
    assert (record.recovered, record.ended_at, record.error_id) == (True, 250.0, "worker-restarting")


def test_a_full_disk_costs_no_record(tmp_path: Path) -> None:
    Spool(tmp_path).note(UP)
    ended = subprocess.run([sys.executable, "-c", _FULL, tmp_path], capture_output=True, text=True, check=False)
    assert "waiting [('c1', True), ('c0', False)] 2" in ended.stdout, ended.stdout + ended.stderr
    assert files(tmp_path) == ["c1.json"], "once there is room, what is not delivered yet lies on disk"


def test_a_file_that_makes_no_sense_keeps_nobody_waiting(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.end(FINISHED)
    for number, nonsense in enumerate(("", "{", "[]", "null", "5", '{"callId": 5}', '{"media": []}', "\udcff")):
        for directory in (tmp_path, tmp_path / "open"):
            (directory / f"b{number}.json").write_text(nonsense, errors="surrogateescape")
    (tmp_path / "c0.json").write_text(json.dumps({"callId": "c0", "unknown": [1]}))
    spool.recover()
    assert [record.call_id for record in spool.waiting()] == ["c0", "c1"]
