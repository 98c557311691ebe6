"""How a Telegram caller looks to a PBX, and whether a trunk takes its calls. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from teletrunk.identifiers import ANONYMOUS, ANONYMOUS_NAME, Called, without_separators
from teletrunk.names import plain
from teletrunk.v1 import call_pb2
from teletrunk.v1.trunk_pb2 import TrunkOptions

from teletrunk_manager.domain import dialling, templates

MOST_CALLERS: Final = 500
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_USERNAME = re.compile(r"@[a-z][a-z0-9_]{3,31}")
_USER_ID = re.compile(r"[1-9][0-9]{0,15}")


def caller_id(peer: call_pb2.Peer, lines: Sequence[str] = ()) -> str:
    """By the first of the templates whose tags are known, else by the usual ones: the user id is always known.

    Who calls it back reaches the caller: one that the trunk would read as somebody else is passed over. Zeros mark a
    user id, and with enough of them no template reads it.
    """
    known = templates.tags_of(peer)
    each = [templates.parse_id(line) for line in (*lines, *templates.USUAL_IDS)]
    marked = (f"{'0' * zeros}{known['userid']}" for zeros in range(2, templates.MOST_TEMPLATES + 3) if known["userid"])
    for text in itertools.chain(templates.filled(each, known), marked):
        if text == ANONYMOUS or dialling.called_by(text, lines) in (None, *_identities(known)):
            return text
    return f"0{known['userid']}" if known["userid"] else ""


def _identities(known: Mapping[str, str]) -> list[Called]:
    """All that the user is called by."""
    phone, username, user_id = (known[tag] for tag in templates.ID_TAGS)
    numbers = [Called("number", digits) for digits in (phone, user_id)]
    return [Called("phone", phone), Called("username", username), Called("user_id", user_id), *numbers]


def caller_name(peer: call_pb2.Peer, lines: Sequence[str] = (), number: str = "") -> str:
    """Likewise; a user without a name is shown by the caller ID, `number` if it is known already. Who is to stay
    unknown has no name."""
    if number == ANONYMOUS:
        return ANONYMOUS_NAME
    each = [templates.parse(line) for line in (*lines, *templates.USUAL_NAMES)]
    text = next(templates.filled(each, templates.tags_of(peer)), None)
    return plain(text) if text is not None else number or caller_id(peer)


def listed(text: str) -> str:
    """A caller as it is kept in a list: +phone, @username in small letters, or a user id. Raises `ValueError`."""
    stripped = text.strip()
    name, digits = stripped.lower(), without_separators(stripped)
    if _USERNAME.fullmatch(name):
        return name
    if _PHONE.fullmatch(digits) or _USER_ID.fullmatch(digits):
        return digits
    raise ValueError(f"{text} is no Telegram user: write +PHONE, @USERNAME or a user id")


def objection(peer: call_pb2.Peer, options: TrunkOptions) -> str:
    """Why the trunk does not take this user's calls; empty when it does."""
    forms = _forms(peer)
    digits = peer.phone.lstrip("+")  # a phone that was written without its + is meant all the same
    if digits in options.blocked_callers or not forms.isdisjoint(options.blocked_callers):
        return "among the trunk's blocked callers"
    if options.allowed_callers and forms.isdisjoint(options.allowed_callers):
        return "not among the trunk's allowed callers"
    return ""


def _forms(peer: call_pb2.Peer) -> set[str]:
    """All that a list may call the user."""
    forms = {str(peer.user_id)}
    if peer.phone:
        forms.add(f"+{peer.phone.lstrip('+')}")
    return forms | {f"@{name.lower()}" for name in (peer.username, *peer.more_usernames)}
