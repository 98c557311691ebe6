"""Call records on the Worker's disk: from a call's beginning until the Manager has its record.

Files, and no database: what a full disk does not take, it still lets be renamed and removed.

A call that is up lies in `open/`, so that even a Worker that is killed leaves one record of it behind; a call that
ended lies in the spool itself. Files appear by rename: a half-written one is never read. A call that has a finished
record has no open one: where both lie there, the finished one counts.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import structlog
from google.protobuf import json_format
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2

log = structlog.get_logger()

_ALL = 1_000_000


class Spool:
    """A disk that takes nothing costs no record as long as this process lives: it waits in memory."""

    def __init__(self, directory: Path) -> None:
        self._ended = directory
        self._open = directory / "open"
        self._open.mkdir(parents=True, exist_ok=True)
        self._up: set[str] = set()
        self._in_memory: dict[str, call_pb2.CallRecord] = {}
        self._on_disk: set[str] = set()  # the finished ones

    def note(self, record: call_pb2.CallRecord) -> None:
        """Keeps what is known of a call that is still going on. A full disk must not end it."""
        self._up.add(record.call_id)
        try:
            _write(self._open_file(record), record)
        except OSError as error:
            log.error("a call's progress is not on disk", **of_call(record), error=str(error))

    def end(self, record: call_pb2.CallRecord) -> None:
        """Keeps a finished record until it is delivered."""
        self._up.discard(record.call_id)  # from now on its open file shows when it was last up
        try:
            self._write_down(record)
        except OSError as error:
            self._in_memory[record.call_id] = record
            log.error("a call's record waits in memory", **of_call(record), error=str(error))

    def _write_down(self, record: call_pb2.CallRecord) -> None:
        _write(self._ended_file(record), record, sync=True)
        self._on_disk.add(record.call_id)
        self._in_memory.pop(record.call_id, None)
        _remove(self._open_file(record))

    def touch(self) -> bool:
        """The open calls, if there are any, are up now: were we killed, they lasted until here."""
        for call_id in self._up:
            with contextlib.suppress(OSError):
                os.utime(self._open / f"{call_id}.json")
        return bool(self._up)

    def recover(self) -> None:
        """At the start: what a predecessor has left. Calls that it was killed in have ended with it."""
        self._on_disk = {path.stem for path in self._ended.glob("*.json")}
        for path in self._open.glob("*.json"):
            finished = self._ended / path.name
            if finished.exists() or finished.with_suffix(".refused").exists():
                _remove(path)
                continue
            if (record := _read(path)) is None:
                continue
            # The file system's clock lags some milliseconds behind the one that the other times are of.
            record.ended_at = max(path.stat().st_mtime, record.invited_at, record.ringing_at, record.answered_at)
            record.ended_by, record.error_id, record.recovered = "gateway", "worker-restarting", True
            log.warning("call ended with a killed worker", **of_call(record))
            self.end(record)

    def waiting(self, most: int = _ALL) -> list[call_pb2.CallRecord]:
        """The oldest of the finished records."""
        for kept in list(self._in_memory.values()):
            with contextlib.suppress(OSError):
                self._write_down(kept)  # the disk may take it by now
        found = list(self._in_memory.values())[:most]
        for call_id in sorted(self._on_disk - self._in_memory.keys()):
            if len(found) >= most:
                break
            if (record := _read(self._ended / f"{call_id}.json")) is not None:
                found.append(record)
            else:
                self._on_disk.discard(call_id)
        return found

    @property
    def count(self) -> int:
        """Records that no Manager has yet."""
        return len(self._in_memory.keys() | self._on_disk)

    def put_aside(self, record: call_pb2.CallRecord) -> None:
        """The Manager does not want it: kept for a person to look at."""
        with contextlib.suppress(OSError):
            path = self._ended_file(record)
            path.rename(path.with_suffix(".refused"))
        self.delivered(record)

    def delivered(self, record: call_pb2.CallRecord) -> None:
        """Nothing of the call is kept: neither the record nor what was noted while it was up."""
        self._in_memory.pop(record.call_id, None)
        self._on_disk.discard(record.call_id)
        # In this order: were we killed in between, it would be delivered again, and not made up from the note.
        _remove(self._open_file(record))
        _remove(self._ended_file(record))

    def _open_file(self, record: call_pb2.CallRecord) -> Path:
        return self._open / f"{record.call_id}.json"

    def _ended_file(self, record: call_pb2.CallRecord) -> Path:
        return self._ended / f"{record.call_id}.json"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # a disk that can only be read
        log.error("a call's record cannot be removed", file=path.name, error=str(error))


def _write(path: Path, record: call_pb2.CallRecord, *, sync: bool = False) -> None:
    unfinished = path.with_suffix(".part")
    try:
        with unfinished.open("w") as file:
            json.dump(json_format.MessageToDict(record), file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _read(path: Path) -> call_pb2.CallRecord | None:
    """None for a file that makes no sense: it is put aside, and keeps nobody else waiting."""
    try:
        known = json.loads(path.read_text())
        record = json_format.ParseDict(known, call_pb2.CallRecord(), ignore_unknown_fields=True)
        if record.call_id != path.stem:
            raise ValueError(f"it is of call {record.call_id}")
        return record
    except Exception as error:  # what protobuf raises for JSON of another shape is not limited to ParseError
        log.error("a call's record cannot be read", file=path.name, error=str(error))
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".bad"))
        return None
