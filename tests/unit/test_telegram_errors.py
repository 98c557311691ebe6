"""Every error that kurigram knows and that our methods can meet has its row on purpose.

Row 18 shows Telegram's own word, and is the right one for most of them. When kurigram learns new ones this test names
them: give each a row in `failures.py`, or add it here.
"""

from __future__ import annotations

import re

import pyrogram.errors as errors
import pytest
from pyrogram.errors import RPCError
from pyrogram.errors.exceptions.all import exceptions
from teletrunk_session_store.telegram.failures import refusal_of

# What phone.*, contacts.*, messages.sendMessage and editMessage, help.* and updates.* can answer.
OURS = re.compile(
    r"CALL_|PARTICIPANT_(VERSION|CALL)|"
    r"USER_(?!.*(BOT|CHANNEL|GIFT|CREATOR|ADMIN|MIGRATE|KICKED|PARTICIPANT|INVITED|HANDLE|VOLUME|PUBLIC|RIGHTS))|USERNAME_(INVALID|NOT_OCC)|"
    r"PHONE_(NOT|NUMBER)_(?!.*(APP|BANNED|FLOOD|R_OCCUPIED))|PEER_(FLOOD|ID_INV)|INPUT_USER|PRIVACY_PREMIUM|PROTOCOL_|DH_G|"
    r"ENCRYPTION_|RANDOM_ID|MESSAGE_(EMPTY|TOO_LONG|ID_INV|NOT_MOD)|YOU_BLOCKED"
)
AS_TELEGRAM_SAYS = {
    "CALL_ALREADY_ACCEPTED",
    "CALL_ALREADY_DECLINED",
    "CALL_NOT_ACTIVE",
    "CALL_OCCUPY_FAILED",
    "CALL_PEER_INVALID",
    "CALL_PROTOCOL_COMPAT_LAYER_INVALID",
    "CALL_PROTOCOL_FLAGS_INVALID",
    "CALL_PROTOCOL_LAYER_INVALID",
    "DH_G_A_INVALID",
    "ENCRYPTION_ALREADY_ACCEPTED",
    "ENCRYPTION_ALREADY_DECLINED",
    "ENCRYPTION_DECLINED",
    "ENCRYPTION_ID_INVALID",
    "ENCRYPTION_OCCUPY_ADMIN_FAILED",
    "ENCRYPTION_OCCUPY_FAILED",
    "MESSAGE_EMPTY",
    "MESSAGE_ID_INVALID",
    "MESSAGE_NOT_MODIFIED",
    "MESSAGE_TOO_LONG",
    "PARTICIPANT_CALL_FAILED",
    "PARTICIPANT_VERSION_OUTDATED",
    "PHONE_NUMBER_OCCUPIED",
    "RANDOM_ID_DUPLICATE",
    "RANDOM_ID_EMPTY",
    "RANDOM_ID_EXPIRED",
    "RANDOM_ID_INVALID",
    "USER_INVALID",
    "USER_PERMISSION_DENIED",
    "USER_RESTRICTED",
    "YOU_BLOCKED_USER",
}


def known() -> list[tuple[str, type[RPCError]]]:
    found = {}
    for by_name in exceptions.values():
        for name, class_name in by_name.items():
            if name != "_" and OURS.match(name):
                found[name] = getattr(errors, class_name)
    return sorted(found.items())


def test_each_has_a_row_or_is_named_here() -> None:
    plain = {name for name, kind in known() if refusal_of(kind()).row.id == "telegram-error"}
    assert plain - AS_TELEGRAM_SAYS == set(), "give these a row, or say here that row 18 is right"
    assert AS_TELEGRAM_SAYS - plain == set(), "these are not known, or not plain, any more"


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (errors.UserPrivacyRestricted, "privacy-restricted"),
        (errors.UserNotMutualContact, "privacy-restricted"),
        (errors.PhoneNotOccupied, "user-not-found"),
        (errors.PeerIdInvalid, "no-confirmed-contact"),
        (errors.PeerFlood, "flood-wait"),
        (errors.AuthKeyUnregistered, "session-disconnected"),
    ],
)
def test_the_rows(kind: type[RPCError], row: str) -> None:
    assert refusal_of(kind()).row.id == row


def test_each_kind_of_wait_is_a_flood_wait() -> None:
    for kind in (errors.FloodWait, errors.SlowmodeWait):
        found = refusal_of(kind(7))
        assert (found.row.id, found.retry_after) == ("flood-wait", 7)
