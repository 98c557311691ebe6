"""Two Managers that share an authority, a database and a Redis: a certificate is good at both, and so is its end."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from tests.integration.test_fleet import Site, attached, command, service_id, until
from tests.servers import Postgres, Redis


async def test_services_go_over_to_the_other_manager_with_their_certificates(
    tmp_path: Path, postgres: Postgres, own_redis: Redis
) -> None:
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    shared = {
        "DATABASE_URL": await postgres.database(),
        "REDIS_URL": own_redis.url,
        "KEY_FILE": str(key),
        "AUTHORITY": str(tmp_path / "authority"),
    }
    async with contextlib.AsyncExitStack() as exits:
        a, b = (Site(tmp_path / name, exits, **shared) for name in "ab")
        await a.start()
        await b.start()
        a.address = b.address = f"{a.address},{b.address}"
        worker = await a.join("worker", "w1", await a.invitation("worker"))
        storage = await b.join("storage", "s1", await b.invitation("storage"))
        await worker.says("enrolled")
        await storage.says("enrolled")
        worker_id, storage_id = service_id(worker, "worker"), service_id(storage, "storage")

        told = (worker.data / "identity" / "worker" / "managers").read_text()
        assert sorted(told.split(",")) == sorted(a.address.split(",")), "it is told of both"

        async def both_seen_by_b() -> bool:
            seen = await attached(b)
            return bool(seen.get(worker_id) and seen.get(storage_id))

        await until(both_seen_by_b)
        a.manager._process.kill()
        await a.manager._process.wait()
        later = await b.join("worker", "w2", await b.invitation("worker"))
        await later.says("enrolled")

        async def all_at_b() -> bool:
            lines = [line["event"] for line in b.manager.lines]
            return sum(line.startswith("service attached") for line in lines) >= 3 and await both_seen_by_b()

        await until(all_at_b)
        code, _ = await command(b.manager.data, "worker", "revoke", worker_id, "--yes")
        assert code == 0

        async def worker_is_gone() -> bool:
            return worker_id not in await attached(b)

        await until(worker_is_gone)
        assert (await attached(b))[storage_id]
