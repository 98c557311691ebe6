"""What the three services of one machine cost while nobody calls: memory and CPU, each part's.

One account is signed in at the local Telegram, and a phone is registered; neither is counted. The services that have
a database are started anew before: making it leaves behind what no later start has.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bridge import cpu_s, memory_mb
from teletrunk_sandbox.world import World

_PHONE = "+79990000001"
_SETTLE_S = 30.0  # what the start and the sign-in have left over is gone


async def _idle(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with World(Path(directory)) as world:
            account = await world.add_account(_PHONE, "gateway")
            await world.phone(await world.add_trunk(_PHONE))
            for name in ("session-store", "manager"):
                await world.stack.children[name].stop()  # its keeper starts it again
            await asyncio.sleep(_SETTLE_S)
            await world.active(account.account_id)
            before, began = cpu_s(world), time.monotonic()
            await asyncio.sleep(seconds)
            after, took, memory = cpu_s(world), time.monotonic() - began, memory_mb(world)
    percent = {part: 100 * (after[part] - before[part]) / took for part in memory}
    for part in memory:
        print(f"{part:<16}{memory[part]:8.1f} MB{percent[part]:8.2f} % of a core")
    print(f"{'all':<16}{sum(memory.values()):8.1f} MB{sum(percent.values()):8.2f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    asyncio.run(_idle(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
