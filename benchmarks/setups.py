"""What a registered PBX's own exchanges cost: REGISTERs and INVITEs a second, each challenged and sent again.

An INVITE is asked of the Manager, which refuses whom it does not know: the SIP port's and the Manager's share of a
set-up, with its record, without a host and without Telegram. CPU is of one core: the Worker's control process, and the
Manager. What asks runs on the same machine and is not counted. A rate is borne when 99 of 100 end within half a second.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import psutil
from flood import PROMPT_S, Pbx, Watched, a_pbx
from teletrunk_sandbox.world import World

RATES = (20, 100, 200, 300, 400, 500)
_HEAD = (
    "| exchange | a second | borne | median / p99, ms | Worker's CPU | ms of it each | Manager's CPU |\n"
    + "|---" * 7
    + "|"
)


def _manager(world: World) -> psutil.Process:
    child = world.stack.children["manager"].process
    assert child is not None
    return psutil.Process(child.pid)


async def _keep_asking(pbx: Pbx, method: str, rate: int, seconds: float) -> float:
    """At a steady rate; how many were asked a second."""
    pbx.took[method] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as exchanges:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            exchanges.create_task(pbx.ask(method))
    return len(pbx.took[method]) / (time.monotonic() - began)


async def _climb(method: str, pbx: Pbx, worker: Watched, manager: psutil.Process, options: argparse.Namespace) -> None:
    for rate in options.rates:
        await pbx.back()
        cpu, managers = worker.cpu_s, sum(manager.cpu_times()[:2])
        began = time.monotonic()
        asked = await _keep_asking(pbx, method, rate, options.seconds)
        took = time.monotonic() - began
        used, manager_used = worker.cpu_s - cpu, sum(manager.cpu_times()[:2]) - managers
        median, p99 = sorted(pbx.took[method])[len(pbx.took[method]) // 2], pbx.p99(method)
        print(
            f"| {method} | {asked:.0f} | {'yes' if p99 < PROMPT_S else 'no'} | {median * 1000:.0f} / {p99 * 1000:.0f} "
            f"| {used / took:.0%} | {used / len(pbx.took[method]) * 1000:.2f} | {manager_used / took:.0%} |",
            flush=True,
        )
        if p99 >= PROMPT_S:
            return


async def main(options: argparse.Namespace) -> None:
    async with a_pbx() as pbx:
        world = pbx.gateway.world
        print(_HEAD, flush=True)
        for method in ("REGISTER", "INVITE"):
            await _climb(method, pbx, Watched(world), _manager(world), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each rate is kept up")
    parser.add_argument("--rates", type=lambda text: tuple(map(int, text.split(","))), default=RATES)
    asyncio.run(main(parser.parse_args()))
