"""Call records on the Worker's disk: from a call's beginning until the Manager has its record.

A call that is up lies in `open/`, so that even a Worker that is killed leaves one record of it behind; a call that
ended lies in the spool itself. Files appear by rename: a half-written one is never read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import structlog
from google.protobuf import json_format
from teletrunk.v1 import call_pb2

log = structlog.get_logger()


class Spool:
    def __init__(self, directory: Path) -> None:
        self._ended = directory
        self._open = directory / "open"
        self._open.mkdir(parents=True, exist_ok=True)

    def note(self, record: call_pb2.CallRecord) -> None:
        """Keeps what is known of a call that is still going on. A full disk must not end it."""
        try:
            _write(self._open / f"{record.call_id}.json", record)
        except OSError as error:
            log.error("a call's progress is not on disk", call_id=record.call_id, error=str(error))

    def end(self, record: call_pb2.CallRecord) -> None:
        """Keeps a finished record until it is delivered. Raises OSError when the disk does not take it."""
        _write(self._ended / f"{record.call_id}.json", record, sync=True)
        (self._open / f"{record.call_id}.json").unlink(missing_ok=True)

    def touch(self) -> None:
        """The open calls are up now: were we killed, they lasted until here."""
        for path in self._open.glob("*.json"):
            with contextlib.suppress(OSError):
                os.utime(path)

    def recover(self) -> None:
        """At the start: calls that a predecessor was killed in have ended with it."""
        for path in self._open.glob("*.json"):
            if (record := _read(path)) is None:
                continue
            # The file system's clock lags some milliseconds behind the one that the other times are of.
            record.ended_at = max(path.stat().st_mtime, record.invited_at, record.ringing_at, record.answered_at)
            record.ended_by, record.error_id = "gateway", "worker-restarting"
            log.warning("call ended with a killed worker", call_id=record.call_id)
            self.end(record)

    def waiting(self) -> Iterator[call_pb2.CallRecord]:
        """The finished records, oldest call first."""
        for path in sorted(self._ended.glob("*.json")):
            if (record := _read(path)) is not None:
                yield record

    @property
    def count(self) -> int:
        """Records that no Manager has yet."""
        return sum(1 for _ in self._ended.glob("*.json"))

    def put_aside(self, record: call_pb2.CallRecord) -> None:
        """The Manager does not want it: kept for a person to look at."""
        with contextlib.suppress(OSError):
            path = self._ended / f"{record.call_id}.json"
            path.rename(path.with_suffix(".refused"))

    def delivered(self, record: call_pb2.CallRecord) -> None:
        (self._ended / f"{record.call_id}.json").unlink(missing_ok=True)


def _write(path: Path, record: call_pb2.CallRecord, *, sync: bool = False) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w") as file:
        json.dump(json_format.MessageToDict(record), file)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    unfinished.rename(path)


def _read(path: Path) -> call_pb2.CallRecord | None:
    """None for a file that makes no sense: it is put aside, and keeps nobody else waiting."""
    try:
        known = json.loads(path.read_text())
        return json_format.ParseDict(known, call_pb2.CallRecord(), ignore_unknown_fields=True)
    except (OSError, ValueError, json_format.ParseError) as error:
        log.error("a call's record cannot be read", file=path.name, error=str(error))
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".bad"))
        return None
