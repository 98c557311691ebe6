"""What of an account's updates is missing, and what is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from pyrogram import raw
from teletrunk_session_store.telegram.update_state import LONGEST_RINGING_S, UpdateState

NOW = 1_700_000_000
types = raw.types


def begun(pts: int = 100, seq: int = 10) -> UpdateState:
    state = UpdateState()
    state.begin(at(pts, seq))
    assert state.take(whole(at(pts, seq)))  # what was before has come
    return state


def at(pts: int, seq: int, date: int = NOW) -> Any:
    return types.updates.State(pts=pts, qts=3, date=date, seq=seq, unread_count=0)


def whole(state: Any) -> Any:
    return types.updates.Difference(
        new_messages=[], new_encrypted_messages=[], other_updates=[], chats=[], users=[], state=state
    )


def updates(*several: Any, seq: int = 0) -> Any:
    return types.Updates(updates=list(several), users=[], chats=[], date=NOW, seq=seq)


def message(pts: int, count: int = 1) -> Any:
    return types.UpdateDeleteMessages(messages=[1], pts=pts, pts_count=count)


def test_it_begins_so_far_back_that_whoever_rings_is_heard_of() -> None:
    state = UpdateState()
    assert not state.is_known
    state.begin(at(100, 10))
    question = state.question()
    assert state.is_known and question.pts < 100 and question.qts == 3
    assert NOW - LONGEST_RINGING_S - 10 < question.date <= NOW - LONGEST_RINGING_S
    early = UpdateState()
    early.begin(at(1, 0, date=1))
    assert early.question().pts == early.question().date == 1  # Telegram refuses what is less


def test_what_follows_is_missed_by_nobody() -> None:
    state = begun()
    assert not any(
        state.misses(each)
        for each in (
            updates(message(101)),
            updates(message(101)),  # a second time
            updates(message(103, 2), message(104)),
            updates(seq=11),
            updates(seq=11),
            types.UpdatesCombined(updates=[], users=[], chats=[], date=NOW, seq_start=12, seq=14),
            updates(seq=15),
            types.UpdateShort(update=types.UpdateUserTyping(user_id=1, action=None), date=NOW),
            updates(types.UpdateDeleteChannelMessages(channel_id=5, messages=[], pts=9_000, pts_count=1)),
            True,  # other answers say nothing of it
        )
    )
    assert state.question().pts == 104


@pytest.mark.parametrize(
    "after_a_hole",
    [
        updates(message(102)),
        updates(message(101), message(104)),
        updates(seq=12),
        types.UpdatesCombined(updates=[], users=[], chats=[], date=NOW, seq_start=12, seq=12),
        types.UpdatesTooLong(),
        types.UpdateShortMessage(id=1, user_id=2, message="", pts=101, pts_count=1, date=NOW),  # does not say from whom
    ],
)
def test_a_hole_is_noticed_until_it_is_filled(after_a_hole: Any) -> None:
    state = begun()
    assert state.misses(after_a_hole) and state.misses(after_a_hole)
    assert state.question().pts in (100, 101)
    assert state.take(whole(at(104, 12)))
    assert isinstance(after_a_hole, types.UpdatesTooLong | types.UpdateShortMessage) or not state.misses(after_a_hole)


def test_dates_overlap() -> None:
    state = begun()
    assert state.take(types.updates.DifferenceEmpty(date=NOW + 30, seq=11))
    assert NOW + 20 < state.question().date < NOW + 30
    assert not state.misses(updates(seq=12))


def test_too_long_a_difference_is_not_fetched() -> None:
    state = begun()
    assert not state.take(types.updates.DifferenceTooLong(pts=9_000))
    assert state.question().pts == 9_000
