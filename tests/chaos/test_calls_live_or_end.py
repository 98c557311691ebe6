"""Calls with sound both ways, and calls that ring, while each part is killed, stopped, cut and restarted.

A call either goes on as if nothing had been, or it ends at once and everywhere, with one record that says how long
the talk was and why it ended. `make chaos` does every harm of the list; the usual tests do the short ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from teletrunk.v1 import call_pb2
from teletrunk_sandbox.world import World

from tests.servers import Postgres, Redis, free_port

from .site import LINES, Site, Talk

ROUNDS = int(os.environ.get("TELETRUNK_CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("TELETRUNK_CHAOS_SEED", "20261124"))
EXACT_S = 0.3

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Harm:
    """`talks` and `rings` are the rows that end such calls; empty when they go on."""

    name: str
    do: Callable[[Site], Awaitable[None]]
    talks: str = ""
    rings: str = ""
    recovered: bool = False  # the records are a successor's
    short: bool = False


HARMS = [
    Harm("manager killed", lambda site: site.kill("manager"), short=True),
    Harm("manager stopped", lambda site: site.stop("manager", 6)),
    Harm("manager restarted", lambda site: site.restart("manager")),
    Harm("storage killed", lambda site: site.kill("session-store"), *("storage-unreachable",) * 2, short=True),
    Harm("storage stopped", lambda site: site.stop("session-store", 4)),
    Harm("storage restarted", lambda site: site.restart("session-store"), *("storage-unreachable",) * 2),
    Harm("worker killed", lambda site: site.kill("worker"), *("worker-restarting",) * 2, recovered=True, short=True),
    Harm("worker stopped", lambda site: site.stop("worker", 4)),
    Harm("worker restarted", lambda site: site.restart("worker"), *("worker-restarting",) * 2),
    Harm("SIP hosts killed", lambda site: site.signal_hosts("sip", signal.SIGKILL), *("media-failed",) * 2, short=True),
    Harm("SIP hosts stopped", lambda site: site.signal_hosts("sip", signal.SIGSTOP, 3)),
    Harm("SIP hosts hang", lambda site: site.signal_hosts("sip", signal.SIGSTOP, 25), *("media-failed",) * 2),
    Harm("Telegram hosts killed", lambda site: site.signal_hosts("telegram", signal.SIGKILL), "media-failed"),
    Harm("Telegram hosts stopped", lambda site: site.signal_hosts("telegram", signal.SIGSTOP, 3)),
    Harm("Telegram hosts hang", lambda site: site.signal_hosts("telegram", signal.SIGSTOP, 25), "media-failed"),
    Harm("PostgreSQL crashed", lambda site: site.crash(site.postgres, 2)),
    Harm("PostgreSQL stopped", lambda site: site.freeze(site.postgres, 6)),
    Harm("Redis crashed", lambda site: site.crash(site.redis, 2)),
    Harm("Redis stopped", lambda site: site.freeze(site.redis, 6)),
    Harm("link to Telegram cut", lambda site: site.cut(3), short=True),
    Harm("Telegram silent", lambda site: site.stop("sandbox", 4)),
]


def _chosen() -> list[Harm]:
    if ROUNDS == 1:
        return [harm for harm in HARMS if harm.short]
    dice = random.Random(SEED)
    order: list[Harm] = []
    while len(order) < max(ROUNDS, len(HARMS)):
        order += dice.sample(HARMS, len(HARMS))
    return order[: max(ROUNDS, len(HARMS))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    postgres, redis = Postgres(), Redis()
    metrics_port = free_port()
    settings = {
        "TELETRUNK_DATABASE_URL": await postgres.database(),
        "TELETRUNK_VAULT_URL": await postgres.database(),
        "TELETRUNK_REDIS_URL": redis.url,
        "TELETRUNK_MAX_CALLS": str(LINES),
        "TELETRUNK_WORKER_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
    }
    try:
        async with World(tmp_path_factory.mktemp("chaos-calls"), **settings) as world:
            site = Site(world, postgres, redis, metrics_port)
            await site.furnish()
            yield site
    finally:
        redis.stop()
        postgres.close()


@pytest.mark.parametrize("harm", [pytest.param(harm, id=harm.name) for harm in _chosen()])
async def test_calls_go_on_or_end_everywhere(site: Site, harm: Harm) -> None:
    await site.works()
    before = await site.world.call_ids()
    talks = [await site.talk_out(), await site.talk_in()]
    rings = [await site.ring_out(), await site.ring_in()]
    for talk in talks:
        await site.hears_both_ways(talk, time.time())
    began = time.time()
    await harm.do(site)
    if not harm.talks:
        await _go_on(site, talks)
    if not harm.rings:
        await _still_ring(site, rings)
    for talk in [*talks, *rings]:
        await site.ended(talk)
    last_sounds = [(await talk.phone.tell("heard", call=talk.call))["last_at"] for talk in talks]
    await site.nothing_is_left()
    records = await site.new_records(before, len(talks) + len(rings))
    for talk, last_sound, by in zip(talks, last_sounds, ("pbx", "telegram"), strict=True):
        until = last_sound if harm.recovered else talk.until
        _check(records[talk.name], harm.talks, by)
        _check_time(records[talk.name], talk, until)
    for ring, by in zip(rings, ("pbx", "telegram"), strict=True):
        _check(records[ring.name], harm.rings, by)
        assert not records[ring.name].answered_at
    sys.stdout.write(f"{harm.name}: {time.time() - began:.1f} s\n")


async def _go_on(site: Site, talks: list[Talk]) -> None:
    now = time.time()
    await asyncio.gather(*(site.hears_both_ways(talk, now) for talk in talks))
    for talk, by_phone in zip(talks, (True, False), strict=True):
        await site.hang_up(talk, by_phone=by_phone)


async def _still_ring(site: Site, rings: list[Talk]) -> None:
    for ring, by_phone in zip(rings, (True, False), strict=True):
        assert ring.call in (await ring.phone.tell("dialogs"))["calls"], f"{ring.name} has ended"
        await site.hang_up(ring, by_phone=by_phone)


def _check(record: call_pb2.CallRecord, row: str, by: str) -> None:
    expected = ("gateway", row) if row else (by, "")
    assert (record.ended_by, record.error_id) == expected, record


def _check_time(record: call_pb2.CallRecord, talk: Talk, until: float) -> None:
    talked, recorded = until - talk.since, record.ended_at - record.answered_at
    assert abs(talked - recorded) < EXACT_S, f"{talk.name}: {talked:.2f} s at the phone, {recorded:.2f} s in the record"
