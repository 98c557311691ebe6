"""What was given up has nothing to say: timers that ran out too late, ports that answer too late."""

from __future__ import annotations

import asyncio

from teletrunk_worker.call import events as on
from teletrunk_worker.call.inbox import Inbox, Timers

from tests.simulated_time import simulated

END = on.Admitted()


async def _heard(inbox: Inbox) -> list[on.Event]:
    """All that is in it and not void."""
    inbox.put(END)
    heard = []
    while (event := await inbox.get()) is not END:
        heard.append(event)
    return heard


async def _a_timer_that_ran_out_unread_and_was_stopped() -> None:
    inbox = Inbox()
    timers = Timers(inbox)
    timers.start("call", 1.0)
    timers.start("other", 1.0)
    await asyncio.sleep(2.0)
    timers.stop("call")
    assert await _heard(inbox) == [on.Expired("other")]


async def _a_timer_that_was_started_anew() -> None:
    inbox = Inbox()
    timers = Timers(inbox)
    timers.start("call", 1.0)
    await asyncio.sleep(1.5)
    timers.start("call", 5.0)
    assert await _heard(inbox) == []
    await asyncio.sleep(5.0)
    assert await _heard(inbox) == [on.Expired("call")]


async def _a_port_that_was_released() -> None:
    inbox = Inbox()
    old, new = inbox.source(), inbox.source()
    old.put(on.MediaConnected())
    new.put(on.MediaClosed())
    old.close()
    old.put(on.MediaConnected())
    assert await _heard(inbox) == [on.MediaClosed()]


def test_a_timer_that_ran_out_unread_and_was_stopped_is_void() -> None:
    simulated(_a_timer_that_ran_out_unread_and_was_stopped())


def test_only_the_last_start_of_a_timer_counts() -> None:
    simulated(_a_timer_that_was_started_anew())


def test_what_a_released_port_has_said_is_void() -> None:
    simulated(_a_port_that_was_released())
