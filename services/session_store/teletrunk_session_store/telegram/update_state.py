"""Where an account stands in Telegram's sequences of updates: https://core.telegram.org/api/updates.

Updates of calls belong to no message box: they have no `pts`, only the `seq` and the date of what brings them. So what
was missed is asked for by date, and calls need no state that outlives the process: what is older than a call may wait
for an answer is of no use any more. `pts` is followed all the same: a hole in it is a sign that updates got lost, and
the chat tells of calls that have ended.
"""

from __future__ import annotations

from typing import Any, Final

from pyrogram import raw

LONGEST_RINGING_S: Final = 120  # until a device has it, and then until somebody answers, by Telegram's own limits
_OVERLAP_S = 2  # dates are whole seconds, and of the last one not everything may have come
_EARLIER_EVENTS = 20  # of the message box, for servers that date what they keep by it
_MOST_EVENTS = 1000
_SHORT = (raw.types.UpdateShortMessage, raw.types.UpdateShortChatMessage)


class UpdateState:
    """One account's. It says what to ask for, and when."""

    def __init__(self) -> None:
        self.is_known = False
        self._pts = self._qts = self._date = self._seq = 0

    def begin(self, state: Any) -> None:
        """From updates.getState, a little in the past: calls that wait already are to be heard of."""
        self._pts = max(1, state.pts - _EARLIER_EVENTS)
        self._qts, self._seq = state.qts, state.seq
        self._date = max(1, state.date - LONGEST_RINGING_S)
        self.is_known = True

    def question(self) -> Any:
        """For what was missed. Some of it may have been heard of before."""
        date = max(1, self._date - _OVERLAP_S)
        return raw.functions.updates.GetDifference(
            pts=self._pts, date=date, qts=self._qts, pts_total_limit=_MOST_EVENTS
        )

    def take(self, difference: Any) -> bool:
        """Whether that was all of it."""
        match difference:
            case raw.types.updates.DifferenceEmpty():
                self._date, self._seq = difference.date, difference.seq
            case raw.types.updates.Difference():
                self._move(difference.state)
            case raw.types.updates.DifferenceSlice():
                self._move(difference.intermediate_state)
                return False
            case raw.types.updates.DifferenceTooLong():
                self._pts = difference.pts
                return False
        return True

    def misses(self, updates: Any) -> bool:
        """Whether something is missing before these, or in them."""
        if isinstance(updates, raw.types.UpdatesTooLong):
            return True
        if isinstance(updates, _SHORT):
            return True  # it does not say whom it is from: the difference does
        first = getattr(updates, "seq_start", 0) or getattr(updates, "seq", 0)
        missing = first > self._seq + 1
        if first and not missing:
            self._seq = max(self._seq, updates.seq)
        return any([missing, *(self._skips(update) for update in contained(updates))])  # each of them is counted

    def _skips(self, update: Any) -> bool:
        pts, count = getattr(update, "pts", None), getattr(update, "pts_count", None)
        if pts is None or count is None or "Channel" in type(update).__name__:  # a channel has a box of its own
            return False
        if pts > self._pts + count:
            return True
        self._pts = max(self._pts, pts)
        return False

    def _move(self, state: Any) -> None:
        self._pts, self._qts = max(self._pts, state.pts), max(self._qts, state.qts)
        self._date, self._seq = state.date, state.seq


def contained(updates: Any) -> list[Any]:
    """The single updates in an `Updates`."""
    if isinstance(updates, raw.types.UpdateShort):
        return [updates.update]
    return list(getattr(updates, "updates", ()))


def ended_call(message: Any) -> Any:
    """What a chat's note of a call that has ended says of it, as an update does; None for any other message."""
    action = getattr(message, "action", None)
    if not isinstance(action, raw.types.MessageActionPhoneCall):
        return None
    return raw.types.PhoneCallDiscarded(
        id=action.call_id, reason=action.reason, duration=action.duration, video=action.video
    )
