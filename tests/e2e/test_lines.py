"""A line that a call has taken comes back at once however the call ends, not when it lapses (15 s)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from teletrunk.v1 import subscription_pb2
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import FRIEND, OWN, Gateway
from tests.processes import hosts_of

pytestmark = pytest.mark.e2e

LAPSES_S = 15.0


@contextlib.asynccontextmanager
async def without_hosts(world: World) -> AsyncIterator[None]:
    """No SIP host lives long enough to take a call, and the Worker knows that those it had are dead."""
    child = world.stack.children["worker"]

    def kill() -> int:
        killed = 0
        for host in hosts_of(world, "sip"):
            with contextlib.suppress(psutil.NoSuchProcess):
                host.kill()
                killed += 1
        return killed

    async def kill_on() -> None:
        while True:
            kill()
            await asyncio.sleep(0.02)

    deaths = child.log.read_text().count('"host died"') + kill()
    killing = asyncio.ensure_future(kill_on())
    async with asyncio.timeout(LAPSES_S):
        while child.log.read_text().count('"host died"') < deaths:
            await asyncio.sleep(0.02)
    try:
        yield
    finally:
        killing.cancel()


async def lines_taken(world: World) -> int:
    # Not by the command: a busy machine may need longer to start it than the call waits for its host.
    plans = (await world.plans.ListSubscriptions(subscription_pb2.ListSubscriptionsRequest(), timeout=5)).subscriptions
    return int(next(plan.lines_taken for plan in plans if plan.name == "plan"))


async def until_lines(world: World, taken: int, within: float) -> None:
    async with asyncio.timeout(within):
        while await lines_taken(world) != taken:
            await asyncio.sleep(0.02)


async def test_a_call_that_gets_no_host_gives_its_line_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        gateway = Gateway(world, wire)
        await gateway.furnish()
        seen = {(await world.record()).call_id}
        await world.command("subscription", "add", "plan", "--lines", "1")
        await world.command("subscription", "include", "plan", OWN)
        async with without_hosts(world):
            first = wire.request("INVITE", FRIEND, gateway.trunk.login)
            invite = wire.answer_challenge(first, (await wire.ask(first)).final, gateway.trunk.login, gateway.password)
            asking = asyncio.ensure_future(wire.ask(invite, patience=30))
            await until_lines(world, 1, within=LAPSES_S)
            wire.cancel(invite)
            assert (await asking).status == (487, "Request Terminated")
            await until_lines(world, 0, within=LAPSES_S / 3)
            cancelled = await world.record(besides=seen)
            assert (cancelled.sip_status, cancelled.ended_by, cancelled.error_id) == (487, "pbx", "")

            refused = await gateway.invite()
            assert refused.exchange.status == (503, "All lines of this Worker are busy")
            assert refused.seconds < LAPSES_S
            await until_lines(world, 0, within=LAPSES_S / 3)
        record = await world.record(besides={*seen, cancelled.call_id})
        assert (record.sip_status, record.error_id) == (503, "worker-full")
        await gateway.back_in_service()
