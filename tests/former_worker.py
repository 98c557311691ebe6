"""A Worker that has been here once: accounts can be assigned to it, and nobody is there."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def former_worker(data: Path, worker_id: str) -> str:
    """Written down in the Manager's database; returns its id."""
    row = (worker_id, "worker", worker_id, "1", "192.0.2.1:5060", 0.0)
    with contextlib.closing(sqlite3.connect(data / "manager.db", timeout=10)) as database, database:
        database.execute(
            "INSERT OR IGNORE INTO services (service_id, kind, name, version, address, last_seen)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )
    return worker_id
