"""Users as other users may find, address and see them."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import privacy
from teletrunk_sandbox.errors import bad_request
from teletrunk_sandbox.state import State, User

_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}")


def digits_of(phone: str) -> str:
    """A phone number's digits; PHONE_NUMBER_INVALID when it cannot be one."""
    digits = re.sub(r"[\s()+-]", "", phone)
    if not re.fullmatch(r"[0-9]{7,15}", digits):
        raise bad_request("PHONE_NUMBER_INVALID")
    return digits


class Accounts:
    """Finds users and makes each viewer's own picture of them.

    An access hash is good only for the account that it was given to:
    https://core.telegram.org/api/peers.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def by_id(self, user_id: int) -> User:
        """The user with an id that is known to exist."""
        return self._state.users[user_id]

    def by_phone(self, phone: str) -> User | None:
        """The account that owns a number."""
        digits = digits_of(phone)
        return next((user for user in self._state.users.values() if user.phone == digits), None)

    def by_username(self, username: str) -> User:
        """The user of a public name."""
        if not _USERNAME.fullmatch(username):
            raise bad_request("USERNAME_INVALID")
        wanted = username.lower()
        for user in self._state.users.values():
            if wanted in (name.lower() for name in user.usernames):
                return user
        raise bad_request("USERNAME_NOT_OCCUPIED")

    def access_hash(self, viewer: User, user: User) -> int:
        """What `viewer` must present to address `user`."""
        digest = hmac.digest(self._state.secret, f"access {viewer.id} {user.id}".encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "little", signed=True)

    def from_input(self, viewer: User, peer: TLObject[Any]) -> User:
        """The user behind an inputUser or inputPeerUser whose access hash is the viewer's own."""
        if isinstance(peer, raw.types.InputUserSelf | raw.types.InputPeerSelf):
            return viewer
        by_user = isinstance(peer, raw.types.InputUser)
        refusal = bad_request("USER_ID_INVALID" if by_user else "PEER_ID_INVALID")
        if not isinstance(peer, raw.types.InputUser | raw.types.InputPeerUser):
            raise refusal
        user = self._state.users.get(peer.user_id)
        if user is None or peer.access_hash != self.access_hash(viewer, user):
            raise refusal
        return user

    def seen_by(self, viewer: User, user: User) -> raw.types.User:
        """The user object that a viewer gets."""
        contact = user.id in viewer.contacts
        shows_phone = viewer is user or contact or privacy.allows(user, viewer, "phone_number")
        return raw.types.User(
            id=user.id,
            is_self=viewer is user,
            contact=contact,
            mutual_contact=contact and viewer.id in user.contacts,
            deleted=user.deactivated,
            access_hash=self.access_hash(viewer, user),
            first_name=user.first_name,
            last_name=user.last_name or None,
            username=None if user.more_usernames else user.username,
            usernames=_all_usernames(user) if user.more_usernames else None,
            phone=user.phone if shows_phone else None,
        )


def _all_usernames(user: User) -> list[raw.types.Username]:
    """Who has several has them in a list alone; a user changes the first, the others are collectible ones."""
    return [
        raw.types.Username(username=name, active=True, editable=not place) for place, name in enumerate(user.usernames)
    ]
