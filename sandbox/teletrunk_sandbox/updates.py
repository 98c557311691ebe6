"""Updates: https://core.telegram.org/api/updates.

They go to the connections that are there. Whoever is away asks for the difference, and gets what is kept for it.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request
from teletrunk_sandbox.state import Authorization, User

if TYPE_CHECKING:
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.session import Session

_SLICE = 100
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """Updates that no message box counts, and the users whom they are about."""

    date: int
    updates: list[TLObject[Any]]
    about: Collection[int]


@dataclass(slots=True)
class Journal:
    """What was sent to one authorization outside its message box: counted by `seq`, found again by date."""

    seq: int = 0
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def add(self, entry: Entry) -> int:
        """The number under which it is sent."""
        self.entries.append(entry)
        self.seq += 1
        return self.seq

    def since(self, date: int) -> list[Entry]:
        """Of the second `date` itself nothing is given again."""
        return [entry for entry in self.entries if entry.date > date]


class Updates:
    """Composes updates for whom they concern and pushes them to their sessions."""

    def __init__(self, dc: DataCentre) -> None:
        self._dc = dc
        self._journals: dict[bytes, Journal] = defaultdict(Journal)

    def journal(self, device: Authorization) -> Journal:
        """What one device was sent."""
        return self._journals[device.key_id]

    def compose(
        self, viewer: User, updates: list[TLObject[Any]], about: Collection[int], seq: int = 0
    ) -> raw.types.Updates:
        """`updates` with the users whom they are about: only so do clients learn access hashes."""
        return raw.types.Updates(
            updates=updates,
            users=list(self._dc.users_for(viewer, about)),
            chats=[],
            date=int(time.time()),
            seq=seq,
        )

    def push(
        self,
        viewer: User,
        updates: list[TLObject[Any]],
        about: Collection[int],
        *,
        to: Iterable[Authorization] | None = None,
        but: Session | None = None,
    ) -> None:
        """Send updates to a user's devices, or only to some of them."""
        lost = self._dc.faults.loses(viewer.phone)
        for device in self._dc.state.authorizations_of(viewer.id) if to is None else to:
            seq = 0
            if any(isinstance(update, raw.types.UpdatePhoneCall) for update in updates):
                seq = self.journal(device).add(Entry(int(time.time()), updates, about))
            body = self.compose(viewer, updates, about, seq).write()
            for session in self._dc.sessions.of([device]):
                if session.wants_updates and session is not but and not lost:
                    session.push(body)

    def push_too_long(self, viewer: User) -> None:
        """Tell a user's devices to ask for the difference."""
        for session in self._dc.sessions.of(self._dc.state.authorizations_of(viewer.id)):
            session.push(raw.types.UpdatesTooLong().write())


@method(raw.functions.updates.GetState)
def get_state(request: Request, query: raw.functions.updates.GetState) -> tl.Answer:
    """updates.getState: where the account's message box stands."""
    return _state(request)


@method(raw.functions.updates.GetDifference)
def get_difference(request: Request, query: raw.functions.updates.GetDifference) -> tl.Answer:
    """updates.getDifference: the messages since a pts, and what no box counts since a date."""
    box = request.dc.messages.box(request.user.id)
    if query.pts <= 0 or query.date <= 0:
        raise bad_request("PERSISTENT_TIMESTAMP_EMPTY" if query.pts <= 0 else "DATE_EMPTY")
    if query.pts > box.pts:
        raise bad_request("PERSISTENT_TIMESTAMP_INVALID")
    if query.pts_total_limit is not None and query.pts + query.pts_total_limit < box.pts:
        return raw.types.updates.DifferenceTooLong(pts=box.pts)
    missed = sorted((letter for letter in box.letters.values() if letter.pts > query.pts), key=lambda each: each.pts)
    journal = request.dc.updates.journal(request.authorization)
    others = journal.since(query.date) if request.dc.faults.differences_have_calls else []
    edited = [letter for letter in box.letters.values() if letter.pts <= query.pts < letter.edit_pts]
    if not missed and not others and not edited:
        return raw.types.updates.DifferenceEmpty(date=int(time.time()), seq=journal.seq)
    messages, more = missed[:_SLICE], len(missed) > _SLICE
    about = {letter.peer_id for letter in messages}
    common: dict[str, Any] = {
        "new_messages": [letter.as_message() for letter in messages],
        "new_encrypted_messages": [],
        "chats": [],
    }
    if more:
        state = raw.types.updates.State(pts=messages[-1].pts, qts=0, date=query.date, seq=journal.seq, unread_count=0)
        users = request.dc.users_for(request.user, about)
        return raw.types.updates.DifferenceSlice(**common, other_updates=[], users=users, intermediate_state=state)
    about.update(*(entry.about for entry in others), (letter.peer_id for letter in edited))
    return raw.types.updates.Difference(
        **common,
        other_updates=[
            *(update for entry in others for update in entry.updates),
            *(
                raw.types.UpdateEditMessage(message=letter.as_message(), pts=letter.edit_pts, pts_count=1)
                for letter in edited
            ),
        ],
        users=request.dc.users_for(request.user, about),
        state=_state(request),
    )


def _state(request: Request) -> raw.types.updates.State:
    pts = request.dc.messages.box(request.user.id).pts
    seq = request.dc.updates.journal(request.authorization).seq
    return raw.types.updates.State(pts=pts, qts=0, date=int(time.time()), seq=seq, unread_count=0)
