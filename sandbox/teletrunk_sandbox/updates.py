"""Updates: https://core.telegram.org/api/updates."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.state import Authorization, User

if TYPE_CHECKING:
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.session import Session


class Updates:
    """Composes updates for whom they concern and pushes them to their sessions."""

    def __init__(self, dc: DataCentre) -> None:
        self._dc = dc

    def compose(self, viewer: User, updates: list[TLObject[Any]], about: Collection[int]) -> raw.types.Updates:
        """`updates` with the users whom they are about: only so do clients learn access hashes."""
        return raw.types.Updates(
            updates=updates,
            users=list(self._dc.users_for(viewer, about)),
            chats=[],
            date=int(time.time()),
            seq=0,
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
        devices = self._dc.state.authorizations_of(viewer.id) if to is None else to
        body = self.compose(viewer, updates, about).write()
        for session in self._dc.sessions.of(devices):
            if session.wants_updates and session is not but:
                session.push(body)


@method(raw.functions.updates.GetState)
def get_state(request: Request, query: raw.functions.updates.GetState) -> tl.Answer:
    """updates.getState: where the account's message box stands."""
    return _state(request)


@method(raw.functions.updates.GetDifference)
def get_difference(request: Request, query: raw.functions.updates.GetDifference) -> tl.Answer:
    """updates.getDifference: the messages since a state."""
    box = request.dc.messages.box(request.user.id)
    missed = [letter for letter in box.letters.values() if letter.pts > query.pts]
    if not missed:
        return raw.types.updates.DifferenceEmpty(date=int(time.time()), seq=0)
    return raw.types.updates.Difference(
        new_messages=[letter.as_message() for letter in missed],
        new_encrypted_messages=[],
        other_updates=[],
        chats=[],
        users=request.dc.users_for(request.user, {letter.peer_id for letter in missed}),
        state=_state(request),
    )


def _state(request: Request) -> raw.types.updates.State:
    pts = request.dc.messages.box(request.user.id).pts
    return raw.types.updates.State(pts=pts, qts=0, date=int(time.time()), seq=0, unread_count=0)
