"""Telegram's RPC errors as rows of the error contract."""

from __future__ import annotations

import re

from pyrogram.errors import Flood, RPCError, ServiceUnavailable, Unauthorized
from teletrunk.errors import Refusal

from teletrunk_session_store.telegram.kurigram import BadMessage

_ROWS = {
    "USER_PRIVACY_RESTRICTED": "privacy-restricted",
    "USER_IS_BLOCKED": "privacy-restricted",
    "USER_BLOCKED": "privacy-restricted",
    "USER_NOT_MUTUAL_CONTACT": "privacy-restricted",
    "PRIVACY_PREMIUM_REQUIRED": "privacy-restricted",
    "PHONE_NOT_OCCUPIED": "user-not-found",
    "PHONE_NUMBER_INVALID": "user-not-found",
    "PHONE_NUMBER_UNOCCUPIED": "user-not-found",
    "USERNAME_NOT_OCCUPIED": "user-not-found",
    "USERNAME_INVALID": "user-not-found",
    "INPUT_USER_DEACTIVATED": "user-not-found",
    "USER_DELETED": "user-not-found",
    "USER_ID_INVALID": "no-confirmed-contact",
    "PEER_ID_INVALID": "no-confirmed-contact",
}
_PEER_FLOOD_S = 86_400  # Telegram names no time; a day is what field reports give


def word(error: RPCError) -> str:
    """Telegram's own name of the error, for example USER_PRIVACY_RESTRICTED."""
    value = getattr(error, "value", None)
    name = str(error.ID or value or type(error).__name__)
    if name.startswith("["):
        return name.strip("[]").split()[-1]  # kurigram writes unknown ones "[500 NAME]"
    return name if value is None else re.sub(r"_X(?=_|$)", f"_{value}", name)


def refusal_of(error: Exception) -> Refusal:
    """The row for whatever a request to Telegram raised."""
    if isinstance(error, TimeoutError | ServiceUnavailable):  # what Telegram answers as -503 is a timeout of its own
        return Refusal("telegram-timeout")
    if isinstance(error, Flood) and isinstance(error.value, int):  # FLOOD_WAIT_X and its kin
        return Refusal("flood-wait", retry_after=int(error.value))
    if isinstance(error, Unauthorized):
        return Refusal("session-disconnected", word(error))
    if isinstance(error, RPCError):
        name = word(error)
        if name == "PEER_FLOOD":
            return Refusal("flood-wait", retry_after=_PEER_FLOOD_S)
        for known, row in _ROWS.items():
            if known in name:
                return Refusal(row)
        return Refusal("telegram-error", name)
    if isinstance(error, BadMessage):
        return Refusal("session-disconnected", str(error))
    if isinstance(error, OSError):
        return Refusal("session-disconnected")
    return Refusal("telegram-error", type(error).__name__)
