"""Kills, stops and crashes under load: nothing that was acknowledged is lost, nothing is counted twice.

`make chaos` runs twenty rounds; the usual tests run a few harms of one. TELETRUNK_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.cluster import Cluster
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
