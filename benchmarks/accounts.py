"""What an account costs that is signed in and waits: CPU and memory of the Storage and the Manager, by their growth."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bridge import cpu_s, memory_mb
from teletrunk_sandbox.world import World

_PARTS = ("session-store", "manager")
_SETTLE_S = 20.0  # what sign-ins have left over is gone


async def _idle(world: World, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Per cent of a core, and megabytes."""
    await asyncio.sleep(_SETTLE_S)
    before, began = cpu_s(world), time.monotonic()
    await asyncio.sleep(seconds)
    after, took = cpu_s(world), time.monotonic() - began
    return {part: 100 * (after[part] - before[part]) / took for part in _PARTS}, memory_mb(world)


async def _measure(count: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with World(Path(directory)) as world:
            await world.add_account("+79990000000", "first")  # what the first one loads is no account's cost
            few = await _idle(world, seconds)
            began = time.monotonic()
            for number in range(1, count + 1):
                account = await world.add_account(f"+7999{number:07}", f"gateway{number}")
            signing_in = time.monotonic() - began
            await world.active(account.account_id)
            many = await _idle(world, seconds)
    print(f"{count} accounts more, signed in within {signing_in:.0f} s; of each:")
    for part in _PARTS:
        cpu, memory = ((after[part] - before[part]) / count for before, after in zip(few, many, strict=True))
        print(f"{part:<16}{1000 * memory:8.0f} kB{cpu:8.3f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    asyncio.run(_measure(options.accounts, options.seconds))


if __name__ == "__main__":
    main()
