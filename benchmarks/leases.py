"""What leases cost the vault: transactions and rows a second, by sessions of one Storage; on PostgreSQL."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).parent.parent))

from teletrunk_session_store.telegram.lease import LEASE_S, Lease
from teletrunk_session_store.telegram.renewals import Renewals
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

from tests.servers import Postgres

_OWNER = "bench"
_SETTLE_S = 1.5  # PostgreSQL's own count is a second old


async def _counted(url: str) -> tuple[int, int]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await asyncio.sleep(_SETTLE_S)
        row = await connection.fetchrow(
            "SELECT xact_commit, tup_updated FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(row["xact_commit"]), int(row["tup_updated"])
    finally:
        await connection.close()


async def _measure(postgres: Postgres, sessions: int, seconds: float) -> str:
    url = await postgres.database()
    vault = Vault(url, Seal(bytes(32)))
    await vault.open()
    renewals = Renewals(vault, _OWNER, LEASE_S)
    leases = [Lease(vault, f"s{number}", _OWNER, renewals) for number in range(sessions)]
    for lease in leases:
        assert await lease.take()
    holding = [asyncio.create_task(lease.hold(asyncio.sleep(3600))) for lease in leases]
    before, began = await _counted(url), time.monotonic()
    await asyncio.sleep(seconds)
    after, took = await _counted(url), time.monotonic() - began
    lost = sum(task.done() for task in holding)
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    await vault.close()
    transactions, rows = ((late - early) / took for late, early in zip(after, before, strict=True))
    return f"{sessions} sessions: {transactions:.2f} transactions/s, {rows:.1f} rows/s, {lost} leases lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    postgres = Postgres()
    try:
        for sessions in arguments.sessions:
            print(asyncio.run(_measure(postgres, sessions, arguments.seconds)), flush=True)
    finally:
        postgres.close()


if __name__ == "__main__":
    main()
