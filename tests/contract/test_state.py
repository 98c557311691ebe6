"""The contract of the state that Managers share, for each way to keep it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_manager import state as contract
from teletrunk_manager.state import OutOfReach, SharedState
from teletrunk_manager.state import memory as in_memory
from teletrunk_manager.state import redis as in_redis
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.state.redis import RedisState

from tests.servers import Redis

SHORT_S = 0.3


@pytest_asyncio.fixture(params=["memory", "redis"])
async def state(request: pytest.FixtureRequest) -> AsyncIterator[SharedState]:
    if request.param == "memory":
        yield MemoryState()
        return
    server: Redis = request.getfixturevalue("redis")
    server.empty()
    kept = RedisState(server.url)
    yield kept
    await kept.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """Everything lapses soon."""
    for module in (contract, in_memory, in_redis):
        monkeypatch.setattr(module, "SERVICE_S", SHORT_S)
        monkeypatch.setattr(module, "LINE_S", SHORT_S)
    return SHORT_S


async def test_a_service_is_its_last_holders(state: SharedState) -> None:
    await state.take_service("w1", "a", b"one")
    assert await state.services() == {"w1": b"one"}
    assert await state.show_service("w1", "a", b"two")
    await state.take_service("w1", "b", b"three")
    assert not await state.show_service("w1", "a", b"four"), "it has gone to another"
    assert not await state.drop_service("w1", "a")
    assert await state.services() == {"w1": b"three"}
    assert await state.drop_service("w1", "b")
    assert await state.services() == {"w1": b""}, "it has left, and was not only forgotten"
    assert await state.show_service("w1", "a", b"five"), "nobody holds it: whoever shows it does"
    assert await state.services() == {"w1": b"five"}


async def test_what_is_passed_on_reaches_who_listens_then(state: SharedState) -> None:
    assert await state.pass_on(b"before") == 0
    heard: list[bytes] = []

    async def listen() -> None:
        async for message in state.passed_on():
            heard.append(message)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while not heard:
            await state.pass_on(b"one\0")
            await asyncio.sleep(0.02)
    assert set(heard) == {b"one\0"}
    assert await state.pass_on(b"one\0") == 1
    listening.cancel()


async def test_a_service_that_is_not_shown_again_lapses(state: SharedState, short: float) -> None:
    await state.take_service("w1", "a", b"one")
    await state.take_service("w2", "a", b"two")
    async with asyncio.timeout(10 * short):
        while len(await state.services()) == 2:
            assert await state.show_service("w2", "a", b"two")
            await asyncio.sleep(short / 10)
    assert await state.services() == {"w2": b"two"}
    assert await state.show_service("w1", "b", b"three")


async def test_no_more_lines_than_there_are(state: SharedState) -> None:
    taken = await asyncio.gather(*(state.take_line(("plan", f"call{number}"), 7) for number in range(40)))
    assert sum(taken) == 7
    assert await state.lines("plan") == 7
    holder = f"call{taken.index(True)}"
    assert await state.take_line(("plan", holder), 7), "it has one already"
    assert await state.lines("plan") == 7
    await state.give_line(("plan", holder))
    await state.give_line(("plan", holder))
    await state.give_line(("plan", "nobody"))
    assert await state.lines("plan") == 6
    assert await state.take_line(("plan", "late"), 7)
    assert not await state.take_line(("plan", "later"), 7)
    assert await state.lines("another") == 0


async def test_a_line_lapses_unless_its_call_is_named(state: SharedState, short: float) -> None:
    for call in ("lives", "dies"):
        assert await state.take_line(("plan", call), 2)
    async with asyncio.timeout(10 * short):
        while await state.lines("plan") == 2:
            await state.keep_lines([("plan", "lives")])
            await asyncio.sleep(short / 10)
    assert await state.take_line(("plan", "next"), 2)
    assert not await state.take_line(("plan", "one more"), 2)


async def test_a_call_that_lives_has_its_line_even_if_it_was_forgotten(state: SharedState) -> None:
    await state.keep_lines([("plan", "a"), ("plan", "b"), ("other", "c")])
    assert (await state.lines("plan"), await state.lines("other")) == (2, 1)
    assert not await state.take_line(("plan", "d"), 2)


async def test_an_announcement_reaches_every_listener(state: SharedState) -> None:
    heard: list[int] = []
    ready = asyncio.Event()

    async def listen(number: int) -> None:
        async for _ in state.changes():
            heard.append(number)
            if set(heard) == {0, 1}:
                ready.set()

    listeners = [asyncio.ensure_future(listen(number)) for number in (0, 1)]

    async def announce_on() -> None:
        while True:
            await state.announce()
            await asyncio.sleep(0.05)

    telling = asyncio.ensure_future(announce_on())
    await asyncio.wait_for(ready.wait(), 5)
    for task in (*listeners, telling):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_redis_gone_or_silent_is_told_in_time_and_it_comes_back(own_redis: Redis) -> None:
    state = RedisState(own_redis.url)
    assert await state.take_line(("plan", "a"), 1)
    own_redis.freeze()
    async with asyncio.timeout(3):
        with pytest.raises(OutOfReach):
            await state.take_line(("plan", "b"), 1)
    own_redis.thaw()
    assert not await state.take_line(("plan", "b"), 1), "it has forgotten nothing"
    own_redis.stop()
    for question in (state.services(), state.lines("plan"), state.announce(), state.give_line(("plan", "a"))):
        async with asyncio.timeout(3):
            with pytest.raises(OutOfReach):
                await question
    own_redis.start()
    assert await state.take_line(("plan", "b"), 1)
    await state.close()
