"""The lifecycle that all three services share."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
import structlog
from teletrunk import service as lifecycle
from teletrunk.config import ConfigurationError
from teletrunk.service import Cause, Service, State


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(lifecycle, "_END_S", 0.2)
    monkeypatch.setattr(lifecycle, "_CLOSE_S", 0.2)


def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def closing(closed: list[str], name: str) -> object:
    async def close() -> None:
        closed.append(name)

    return close


async def for_ever() -> None:
    await asyncio.Event().wait()


async def deaf(release: asyncio.Event) -> None:
    """Does not let itself be cancelled."""
    while not release.is_set():
        try:
            await release.wait()
        except asyncio.CancelledError:
            continue


async def test_a_signal_drains_then_cancels_then_closes_the_last_first() -> None:
    order: list[str] = []

    async def work() -> None:
        try:
            await for_ever()
        finally:
            order.append("work cancelled")

    async def drain() -> None:
        order.append(f"draining: {service.state}")

    async with Service("worker") as service:
        for name in ("port", "hosts"):
            service.on_close(name, closing(order, name))  # type: ignore[arg-type]
        service.background("work", work)
        assert service.state is State.STARTING
        asyncio.get_running_loop().call_later(0.01, end)
        assert await service.until_stopped(drain) is None
    assert order == ["draining: draining", "work cancelled", "hosts", "port"]
    assert service.state is State.STOPPING


async def test_a_second_signal_cuts_the_drain_short() -> None:
    async with Service("worker") as service:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, end)
        loop.call_later(0.05, end)
        async with asyncio.timeout(5):
            await service.until_stopped(for_ever)


async def test_a_signal_while_it_starts_closes_what_was_opened() -> None:
    closed: list[str] = []
    async with Service("worker") as service:
        service.on_close("port", closing(closed, "port"))  # type: ignore[arg-type]
        asyncio.get_running_loop().call_later(0.01, end)
        async with asyncio.timeout(5):
            await for_ever()
        raise AssertionError("it went on")
    assert closed == ["port"]


async def test_a_start_that_fails_closes_what_was_opened_and_says_why() -> None:
    closed: list[str] = []
    with pytest.raises(ConfigurationError, match="in use"):
        async with Service("worker") as service:
            service.on_close("port", closing(closed, "port"))  # type: ignore[arg-type]
            raise ConfigurationError("127.0.0.1:1 is in use")
    assert closed == ["port"]


async def test_a_background_task_that_fails_is_logged_and_begun_again() -> None:
    begun = asyncio.Queue[int]()
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        begun.put_nowait(count)
        if count < 3:
            raise RuntimeError("the first two times")
        await for_ever()

    with structlog.testing.capture_logs() as lines:
        async with Service("worker") as service:
            service.background("work", work)
            async with asyncio.timeout(5):
                while await begun.get() < 3:
                    pass
            service.stop()
            await service.until_stopped()
    failures = [line for line in lines if line["event"] == "background task failed, and is begun again"]
    assert [line["task"] for line in failures] == ["work", "work"]


async def test_a_background_task_that_cannot_work_as_it_is_set_up_ends_the_service() -> None:
    closed: list[str] = []

    async def work() -> None:
        raise ConfigurationError("TELETRUNK_API_ADDRESS: it is in use")

    async def never_asked() -> None:
        raise AssertionError("who cannot work does not wait for calls")

    with pytest.raises(ConfigurationError, match="API_ADDRESS"):
        async with Service("manager") as service:
            service.on_close("port", closing(closed, "port"))  # type: ignore[arg-type]
            service.background("API", work)
            async with asyncio.timeout(5):
                await service.until_stopped(never_asked)
    assert closed == ["port"]


async def test_a_cancellation_that_is_nobodys_is_a_failure() -> None:
    begun = asyncio.Queue[None]()

    async def work() -> None:
        begun.put_nowait(None)
        raise asyncio.CancelledError  # as grpc does when what it reads from fails

    async with Service("worker") as service:
        service.background("work", work)
        async with asyncio.timeout(5):
            await begun.get()
            await begun.get()


async def test_signals_while_it_closes_cut_nothing_short() -> None:
    closed: list[str] = []

    async def slow() -> None:
        end()
        await asyncio.sleep(0.05)
        closed.append("slow")

    with pytest.raises(ConfigurationError):
        async with Service("worker") as service:
            service.on_close("port", closing(closed, "port"))  # type: ignore[arg-type]
            service.on_close("slow", slow)
            raise ConfigurationError("it cannot start")
    assert closed == ["slow", "port"]


async def test_what_cannot_be_closed_keeps_nothing_else_open() -> None:
    closed: list[str] = []

    async def fails() -> None:
        raise OSError("no")

    release = asyncio.Event()
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(5), Service("worker") as service:
            service.on_close("port", closing(closed, "port"))  # type: ignore[arg-type]
            service.on_close("hosts", fails)
            service.on_close("links", for_ever)
            service.on_close("database", lambda: deaf(release))
    assert closed == ["port"]
    assert [line["part"] for line in lines if line["event"] == "not closed in order"] == ["database", "links", "hosts"]
    release.set()


async def test_parts_that_do_not_close_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_CLOSE_ALL_S", 0.3)
    monkeypatch.setattr(lifecycle, "_CLOSE_AT_LEAST_S", 0.01)
    with structlog.testing.capture_logs() as lines:
        began = time.monotonic()
        async with Service("worker") as service:
            for number in range(20):
                service.on_close(str(number), for_ever)
        assert time.monotonic() - began < 2.0, "each would take 0.2 s"
    assert len(lines) == 20


async def test_a_drain_that_does_not_let_itself_be_cut_short_is_left_behind() -> None:
    release = asyncio.Event()
    async with asyncio.timeout(5), Service("worker") as service:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, end)
        loop.call_later(0.05, end)
        await service.until_stopped(lambda: deaf(release))
    release.set()


async def test_a_background_task_that_swallows_its_end_is_named() -> None:
    release = asyncio.Event()
    with structlog.testing.capture_logs() as lines:
        async with Service("worker") as service:
            service.background("deaf", lambda: deaf(release))
            await asyncio.sleep(0)
    assert {"task": "deaf"}.items() <= next(x for x in lines if x["event"] == "background task does not end").items()
    release.set()


async def test_the_causes_of_a_drain_do_not_undo_each_other() -> None:
    async with Service("worker") as service:
        service.stop()
        await service.until_stopped()
        service.drain(Cause.MANAGER)
        service.resume(Cause.MANAGER)
        assert service.draining
        assert service.not_ready() == "draining: the end of this process"


async def test_the_managers_word_is_taken_back() -> None:
    async with Service("worker") as service:
        serving = asyncio.create_task(service.until_stopped())
        await asyncio.sleep(0)
        assert service.not_ready() == ""
        service.drain(Cause.MANAGER)
        assert service.not_ready() == "draining: the Manager's word"
        service.resume(Cause.MANAGER)
        assert service.not_ready() == ""
        service.stop(3)
        assert await serving == 3
