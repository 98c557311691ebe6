"""Finds the Telegram user that a PBX dialled. What was found once is not asked again."""

from __future__ import annotations

from typing import Any

from pyrogram import raw
from teletrunk.errors import Refusal
from teletrunk.identifiers import Called, parse_called

from teletrunk_session_store.telegram.session import Session
from teletrunk_session_store.vault.store import KnownPeer, Vault


async def resolve(session: Session, vault: Vault, text: str) -> KnownPeer:
    """Raises `Refusal`: user-not-found, no-confirmed-contact, flood-wait and the like."""
    called = parse_called(text)
    if called is None:
        raise Refusal("user-not-found", "not a phone, @username or user id")
    if called.kind == "number":
        # Digits alone: a user id that this account knows, else a phone.
        known = await vault.find_peer(session.session_id, user_id=int(called.value))
        return known or await _by_phone(session, vault, called.value)
    if called.kind == "phone":
        return await _by_phone(session, vault, called.value)
    if called.kind == "username":
        return await _by_username(session, vault, called)
    known = await vault.find_peer(session.session_id, user_id=int(called.value))
    if known is None:
        raise Refusal("no-confirmed-contact")
    return known


async def _by_phone(session: Session, vault: Vault, phone: str) -> KnownPeer:
    if known := await vault.find_peer(session.session_id, phone=phone):
        return known
    try:
        answer = await session.invoke(raw.functions.contacts.ResolvePhone(phone=f"+{phone}"))
    except Refusal as refusal:
        if refusal.row.id == "user-not-found":
            raise Refusal("user-not-found") from None
        raise
    return await _found(session, vault, answer, phone=phone)


async def _by_username(session: Session, vault: Vault, called: Called) -> KnownPeer:
    name = called.value.lower()
    if known := await vault.find_peer(session.session_id, username=name):
        return known
    answer = await session.invoke(raw.functions.contacts.ResolveUsername(username=called.value))
    return await _found(session, vault, answer, username=name)


async def _found(session: Session, vault: Vault, answer: Any, phone: str = "", username: str = "") -> KnownPeer:
    """The user that a resolve answer points to, remembered under what was asked."""
    user_id = getattr(answer.peer, "user_id", None)
    for peer in await session.remember(answer.users):
        if peer.user_id == user_id and peer.access_hash:
            named = KnownPeer(
                peer.user_id,
                peer.access_hash,
                peer.first_name,
                peer.last_name,
                peer.username or username,
                peer.phone or phone,
            )
            await vault.put_peers(session.session_id, [named])
            return named
    raise Refusal("user-not-found", "not a person")
