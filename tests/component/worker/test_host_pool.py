"""A pool of real hosts: places are counted where they are spent."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
import pytest_asyncio
from teletrunk.errors import Refusal
from teletrunk_worker.legs.supervisor import DIED, HostPool
from teletrunk_worker.legs.wire import Message

CALLS_A_HOST = 20


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[HostPool]:
    made = HostPool("telegram", "teletrunk_worker.legs.telegram_host", CALLS_A_HOST, 2 * CALLS_A_HOST)
    await made.start(lambda index, wide: None)
    yield made
    await made.close()


def nobody(message: Message) -> None: ...


async def test_room_is_what_hosts_have_and_what_can_be_started(pool: HostPool) -> None:
    assert pool.room == 2 * CALLS_A_HOST
    first = await pool.place("c1", nobody)
    assert pool.room == 2 * CALLS_A_HOST - 1
    first.ending = 3  # dialogs that nobody has acknowledged: added to those that live
    assert pool.room == 2 * CALLS_A_HOST - 4 and first.free == CALLS_A_HOST - 4
    pool.release(first, "c1")
    assert first.free == CALLS_A_HOST - 3


async def test_the_first_host_is_started_when_a_call_begins_that_will_want_it() -> None:
    """Until then it would only cost memory."""
    pool = HostPool("telegram", "teletrunk_worker.legs.telegram_host", CALLS_A_HOST, CALLS_A_HOST)
    try:
        pool.prepare(lambda index, wide: None)
        before = set(psutil.Process().children())
        assert pool.room == CALLS_A_HOST
        for _ in range(2):
            pool.expect()
        host = await pool.place("c1", nobody)
        assert {child.pid for child in set(psutil.Process().children()) - before} == {host.process.pid}
        pool.expect()  # another call: there is one
        assert pool.room == CALLS_A_HOST - 1
    finally:
        await pool.close()


async def test_what_one_host_refuses_another_is_asked_for(pool: HostPool) -> None:
    first = await pool.place("c1", nobody)
    second = await pool.place("c1", nobody, besides=[first])  # it is started for this
    assert second is not first
    with pytest.raises(Refusal, match="All lines of this Worker are busy"):
        await pool.place("c1", nobody, besides=[first, second])


async def test_a_host_that_owes_answers_gets_no_new_call(pool: HostPool) -> None:
    first = await pool.place("c1", nobody)
    first.unanswered = 2
    assert await pool.place("c2", nobody) is not first


async def test_who_waits_for_a_place_can_go(pool: HostPool) -> None:
    """Nothing is kept for a call that was given up while its host was starting."""
    first = await pool.place("c1", nobody)
    waiting = asyncio.ensure_future(pool.place("c2", nobody, besides=[first]))
    await asyncio.sleep(0)
    waiting.cancel()
    second = await pool.place("c3", nobody, besides=[first])
    assert set(second.listeners) == {"c3"}


async def test_a_pool_that_closes_reads_no_host_any_more(pool: HostPool) -> None:
    """Not even one that has something to say at that moment."""
    host, failed = await pool.place("c1", nobody), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    host.send({"command": "ping"})
    assert select.select([host.wire.socket], [], [], 5)[0]
    await asyncio.sleep(0)  # what can be read is found in the turn of the loop that goes on here
    await pool.close()
    assert not failed


async def test_the_death_of_a_host_is_told_and_its_room_comes_back(pool: HostPool) -> None:
    died = asyncio.Event()
    host = await pool.place("c1", lambda message: died.set() if message["event"] == DIED else None)
    psutil.Process(host.process.pid).kill()
    async with asyncio.timeout(10):
        await died.wait()
        assert await pool.place("c1", nobody) is not host
    assert pool.room == 2 * CALLS_A_HOST - 1
