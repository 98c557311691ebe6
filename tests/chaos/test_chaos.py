"""Kills, stops and crashes under load: nothing that was acknowledged is lost, nothing is counted twice.

`make chaos` runs twenty rounds; the usual tests run a few harms of one. TELETRUNK_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests import sip_wire
from tests.chaos.cluster import ACCOUNTS, FRIEND, Cluster
from tests.servers import Postgres, Redis

ROUNDS = int(os.environ.get("TELETRUNK_CHAOS_ROUNDS", "1"))
HARMS = int(os.environ.get("TELETRUNK_CHAOS_HARMS", "3"))
SEED = int(os.environ.get("TELETRUNK_CHAOS_SEED", "20261124"))
CALM_S = 3.0  # load between two harms

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(ROUNDS * 600)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    postgres, redis = Postgres(), Redis()
    directory: Path = tmp_path_factory.mktemp("chaos")
    cluster = Cluster(directory, postgres, redis)
    try:
        await cluster.start()
        await cluster.works()
        yield cluster
    finally:
        await cluster.stop()
        redis.stop()
        postgres.close()


async def test_a_telegram_call_is_one_workers_whoever_is_registered_where(cluster: Cluster) -> None:
    """The PBX is registered at both Workers: both hear of the call, one takes it, and there is one record."""
    assert await cluster.missing_records() == set()
    before = await cluster.recorded()
    async with contextlib.AsyncExitStack() as stack:
        pbxs = [await stack.enter_async_context(sip_wire.udp(("127.0.0.1", port))) for port in cluster.sip_ports]
        for pbx in pbxs:
            assert (await pbx.register(*cluster.trunks[0])).final.code == 200
        await cluster.friends.tell("call", phone=FRIEND, to=ACCOUNTS[0])
        rung = [asyncio.ensure_future(pbx.next_request("INVITE")) for pbx in pbxs]
        async with asyncio.timeout(10):
            await asyncio.wait(rung, return_when=asyncio.FIRST_COMPLETED)
        number = next(number for number, task in enumerate(rung) if task.done())
        pbxs[number].answer(rung[number].result(), 486, "Busy Here")
        await cluster.friends.wait("ended", phone=FRIEND)
        async with asyncio.timeout(20):
            while not await cluster.recorded() - before:
                await asyncio.sleep(0.1)
        assert not rung[1 - number].done()
        rung[1 - number].cancel()
    assert await cluster.lines_at_rest() == 0
    assert len(await cluster.recorded() - before) == 1


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_nothing_is_lost(cluster: Cluster, number: int) -> None:
    dice = random.Random(SEED + number)
    done = []
    cluster.begin_load()
    for _ in range(HARMS):
        await asyncio.sleep(CALM_S)
        done.append(await cluster.harm(dice))
    await asyncio.sleep(CALM_S)
    await cluster.end_load()
    sys.stdout.write(f"round {number}: {'; '.join(done)}\n{cluster.answers}\n")
    await cluster.works()
    assert await cluster.lines_at_rest() == 0
    assert await cluster.missing_changes() == set()
    assert await cluster.missing_records() == set()
    assert await cluster.control.duplicates() == 0, "Telegram saw one session in two places"
    assert cluster.acknowledged
