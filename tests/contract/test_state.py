"""The contract of the state that Managers share, for each way to keep it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_manager import state as contract
from teletrunk_manager.state import Holding, Mark, OutOfReach, SharedState, Telling
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


async def told(state: SharedState) -> dict[str, list[bytes]]:
    """What one reads who knows nothing; nothing of a service that has left, and was not only forgotten."""
    found = {}
    for name, mark in (await state.services()).items():
        telling = await state.service(name, None)
        assert telling is not None and telling.afresh and telling.mark == mark
        found[name] = [] if mark.left else telling.parts
    return found


async def show(state: SharedState, service_id: str, holder: str, whole: bytes, change: bytes = b"") -> bool:
    return await state.show_service(service_id, holder, change, lambda: whole)


async def test_a_service_is_its_last_holders(state: SharedState) -> None:
    await state.take_service("w1", "a", b"one")
    assert await told(state) == {"w1": [b"one"]}
    assert await show(state, "w1", "a", b"two", change=b"+")
    await state.take_service("w1", "b", b"three")
    assert not await show(state, "w1", "a", b"four", change=b"+"), "it has gone to another"
    assert await state.keep_services([Holding("w1", "a", 1.0)]) == ({"w1"}, set())
    assert not await state.drop_service("w1", "a")
    assert await told(state) == {"w1": [b"three"]}
    assert await state.drop_service("w1", "b")
    assert await told(state) == {"w1": []}
    assert await state.keep_services([Holding("w1", "a", 1.0)]) == (set(), {"w1"})
    assert await show(state, "w1", "a", b"five"), "nobody holds it: whoever shows it does"
    assert await told(state) == {"w1": [b"five"]}


async def test_who_knows_a_record_reads_its_changes_only(state: SharedState) -> None:
    await state.take_service("w1", "a", whole := b"w" * 9_000)
    known = await read(state, None)
    assert (known.afresh, known.parts) == (True, [whole])
    seen: list[bytes] = []
    for number in range(30):
        assert await show(state, "w1", "a", b"w" * 9_000, change=b"%04d" % number * 250)
        if number % 3 == 2:
            known = await read(state, known.mark)
            assert not known.afresh
            seen += known.parts
    assert seen == [b"%04d" % number * 250 for number in range(30)]
    assert (await read(state, known.mark)).parts == []
    afresh = await read(state, None)
    assert len(afresh.parts) < 12, "no more is kept of changes than of the whole"
    assert afresh.mark == known.mark
    assert await state.keep_services([Holding("w1", "a", 7.0)]) == (set(), set())
    assert (await state.services())["w1"].seen_at == 7.0
    await state.take_service("w1", "b", b"another")
    assert (await read(state, known.mark)).parts == [b"another"]


async def read(state: SharedState, known: Mark | None) -> Telling:
    telling = await state.service("w1", known)
    assert telling is not None
    return telling


async def test_a_redis_that_has_gone_back_in_time_is_told_all_again(redis: Redis) -> None:
    """It came back with what it had on its disk: changes are missing of which both sides know."""
    redis.empty()
    state = RedisState(redis.url)
    await state.take_service("w1", "a", b"one")
    early = await state._redis.dump("teletrunk:service:w1")
    assert await show(state, "w1", "a", b"two", change=b"2")
    known = (await read(state, None)).mark
    await state._redis.restore("teletrunk:service:w1", 9_000, early, replace=True)
    await state._redis.delete("teletrunk:changes:w1")
    assert (await read(state, known)).afresh
    assert await state.keep_services([Holding("w1", "a", 1.0)]) == (set(), {"w1"})
    assert await show(state, "w1", "a", b"three", change=b"3")
    assert (await read(state, known)).parts == [b"three"]
    await state._redis.delete("teletrunk:changes:w1")  # that alone, too
    assert await show(state, "w1", "a", b"four", change=b"4")
    await state._redis.delete("teletrunk:changes:w1")
    assert await state.keep_services([Holding("w1", "a", 1.0)]) == (set(), {"w1"})
    await state.close()


async def test_a_redis_that_has_forgotten_is_told_again_though_nothing_has_changed(redis: Redis) -> None:
    redis.empty()
    state = RedisState(redis.url)
    await state.take_service("w1", "a", b"one")
    redis.empty()
    assert await state.keep_services([Holding("w1", "a", 1.0)]) == (set(), {"w1"})
    assert await show(state, "w1", "a", b"one")
    assert await told(state) == {"w1": [b"one"]}
    await state.close()


async def test_a_record_that_is_being_written_is_not_written_again(redis: Redis) -> None:
    """Heartbeats come when they like, and all two seconds it is asked whether everything is still there."""
    redis.empty()
    state = RedisState(redis.url)
    await state.take_service("w1", "a", b"one")
    for number in range(50):
        shown, kept = await asyncio.gather(
            show(state, "w1", "a", b"not this", change=b"%d" % number), state.keep_services([Holding("w1", "a", 1.0)])
        )
        assert shown and kept == (set(), set())
        kept, shown = await asyncio.gather(
            state.keep_services([Holding("w1", "a", 1.0)]), show(state, "w1", "a", b"not this", change=b"+")
        )
        assert shown and kept == (set(), set())
    assert (await read(state, None)).parts[0] == b"one"
    await state.close()


async def test_a_manager_of_the_version_before_reads_and_is_read(redis: Redis) -> None:
    """It knows `holder` and the whole `record` alone, and listens to announcements alone."""
    redis.empty()
    state, older = RedisState(redis.url), RedisState(redis.url)._redis
    await state.take_service("w1", "a", b"one")
    async with older.pubsub() as listener:
        await listener.subscribe("teletrunk:changed")
        await state.services()  # as each Manager does all two seconds
        assert await state.keep_services([Holding("w1", "a", 1.0)]) == (set(), {"w1"}), "it is shown whole"
        for record in (b"two", b"three"):
            assert await show(state, "w1", "a", record, change=b"+")
            assert await older.hget("teletrunk:service:w1", "record") == record
        known = (await read(state, None)).mark
        await older.hset("teletrunk:service:w1", mapping={"holder": "b", "record": b"four"})  # it has gone there
        assert not await show(state, "w1", "a", b"five", change=b"+")
        for record in (b"four", b"five"):  # which has no marks
            await older.hset("teletrunk:service:w1", "record", record)
            telling = await read(state, known)
            assert (telling.afresh, telling.parts, telling.mark.stamp) == (True, [record], "")
    assert await show(state, "w2", "c", b"one") and await show(state, "w2", "c", b"two", change=b"+")
    await state.services()
    assert await show(state, "w2", "c", b"three", change=b"+")
    assert await older.hget("teletrunk:service:w2", "record") == b"two", "it is gone: nobody reads that"
    await older.aclose()
    await state.close()


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
            assert await state.keep_services([Holding("w2", "a", 1.0)]) == (set(), set())
            await asyncio.sleep(short / 10)
    assert await told(state) == {"w2": [b"two"]}
    assert await show(state, "w1", "b", b"three")


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
    await state.give_line(("plan", "a"))
    await state.renew_lines([("plan", "a"), ("plan", "b")])
    assert await state.lines("plan") == 1, "what was given back is not taken by who has not heard it"


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
