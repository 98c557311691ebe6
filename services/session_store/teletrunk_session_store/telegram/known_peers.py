"""The users whom a session has met: to call or write to them takes the access hash that this session was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrogram import raw

from teletrunk_session_store.vault.store import KnownPeer, Vault, best_effort


class KnownPeers:
    """Those of one session."""

    def __init__(self, vault: Vault, session_id: str) -> None:
        self._vault = vault
        self._session_id = session_id

    async def remember_found(self, kind: str, value: str, user_id: int | None, users: list[Any]) -> KnownPeer | None:
        """The user whom Telegram has found by this, remembered by it, too; None for who is no person.

        Raises what the vault raises.
        """
        known = _known(users)
        peer = next((peer for peer in known if peer.user_id == user_id), None)
        if known:
            found = [(kind, value, peer.user_id)] if peer is not None else []
            await self._vault.put_peers(self._session_id, known, found)
        return peer

    async def remember_if_possible(self, users: list[Any]) -> None:
        """Caches the users that an update brought."""
        async with best_effort():
            if known := _known(users):
                await self._vault.put_peers(self._session_id, known)

    async def find(self, user_id: int, users: Mapping[int, Any]) -> KnownPeer:
        """From the update that told of them, else from the vault, else by the bare id."""
        if (user := users.get(user_id)) is not None and user.access_hash and not user.min:
            return peer_of(user)
        async with best_effort():
            if known := await self._vault.find_peer(self._session_id, user_id):
                return await self._vault.with_usernames(self._session_id, known)
        return KnownPeer(user_id, 0)


def _known(users: list[Any]) -> list[KnownPeer]:
    peers = [peer_of(user) for user in users if isinstance(user, raw.types.User) and not user.min]
    return [peer for peer in peers if peer.access_hash]


def peer_of(user: Any) -> KnownPeer:
    """A TL user as a peer. Who has several usernames has them in a list instead."""
    names = [user.username or "", *(name.username for name in user.usernames or [] if name.active)]
    first, *more = [name.lower() for name in names if name] or [""]
    return KnownPeer(
        user.id,
        user.access_hash or 0,
        user.first_name or "",
        user.last_name or "",
        first,
        user.phone or "",
        tuple(more),
    )
