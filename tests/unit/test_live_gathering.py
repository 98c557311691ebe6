"""A Manager that has just started waits a moment for whom it needs; later what is not there is not there."""

from __future__ import annotations

import asyncio
import time

import pytest
from teletrunk_manager import live as live_module
from teletrunk_manager.live import Live

pytestmark = pytest.mark.asyncio


async def test_what_comes_while_services_gather_is_waited_for() -> None:
    live, there = Live(), False
    waits = [asyncio.ensure_future(live.comes(lambda: there)) for _ in range(3)]
    await asyncio.sleep(0)
    live.arrived()  # somebody else
    await asyncio.sleep(0.01)
    assert not any(wait.done() for wait in waits)
    there = True
    live.arrived()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*waits) == [True] * 3


async def test_it_is_waited_for_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_PATIENCE_S", 0.05)
    began = time.monotonic()
    assert not await Live().comes(lambda: False)
    assert 0.04 < time.monotonic() - began < 1


async def test_a_manager_that_has_long_been_there_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_GATHERING_S", 0.0)
    live = Live()
    async with asyncio.timeout(0.5):
        assert not await live.comes(lambda: False)
        assert await live.comes(lambda: True)
