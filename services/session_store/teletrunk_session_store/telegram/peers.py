"""Finds the Telegram user that a PBX dialled. Telegram counts questions: what was found is kept a while."""

from __future__ import annotations

import time
from dataclasses import replace

from pyrogram import raw
from teletrunk.errors import Refusal
from teletrunk.identifiers import Called

from teletrunk_session_store.telegram.session import Session
from teletrunk_session_store.vault.store import KnownPeer, Vault

# Names and numbers get other owners: a username within days, a number after months.
_TRUSTED_S = {"username": 86_400.0, "phone": 30 * 86_400.0}


async def resolve(session: Session, vault: Vault, called: Called | None, *, fresh: bool = False) -> KnownPeer:
    """`fresh` asks Telegram whatever is known. Raises `Refusal`: user-not-found, no-confirmed-contact, flood-wait..."""
    if called is None:
        raise Refusal("user-not-found", "not a phone, @username or user id")
    if called.kind in ("number", "user_id"):
        # Digits alone: a user id that this account knows, else a phone.
        known = await vault.find_peer(session.session_id, int(called.value))
        if known is not None:
            return known
        if called.kind == "user_id":
            raise Refusal("no-confirmed-contact")
    kind = "username" if called.kind == "username" else "phone"
    value = called.value.lower()
    since = time.time() - _TRUSTED_S[kind]
    if not fresh and (known := await vault.find_alias(session.session_id, kind, value, since)):
        return known
    return await _asked(session, kind, value)


async def _asked(session: Session, kind: str, value: str) -> KnownPeer:
    """The user whom Telegram finds. Raises `Refusal`."""
    question = (
        raw.functions.contacts.ResolveUsername(username=value)
        if kind == "username"
        else raw.functions.contacts.ResolvePhone(phone=value)  # digits alone
    )
    answer = await session.invoke(question, expect=raw.types.contacts.ResolvedPeer)
    peer = await session.peers.remember_found(kind, value, getattr(answer.peer, "user_id", None), answer.users)
    if peer is None:
        raise Refusal("user-not-found", "not a person")
    return replace(peer, phone=peer.phone or value) if kind == "phone" else peer
