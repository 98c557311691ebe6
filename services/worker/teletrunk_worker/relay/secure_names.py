"""`sips:` addresses (RFC 3261 19.1, RFC 5630), as PBXs write them that come by TLS.

A host is reached by UDP on loopback: pjsip takes no request for such an address there, and sends none to one, an ACK
or BYE neither. So hosts see `sip:` in its place, and what they send to it goes to what the peer has written.
"""

from __future__ import annotations

from typing import TypeVar

from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Message, Request

SomeMessage = TypeVar("SomeMessage", bound=Message)
_SIPS = "sips:"


def is_secure(uri: str) -> bool:
    return uri[: len(_SIPS)].lower() == _SIPS


def names_one(message: Message) -> bool:
    """Whether its sender wants to be reached so."""
    contacts = message.contacts
    return bool(contacts) and is_secure(contacts[0].uri.text)


def are_of(dialog: Dialog) -> bool:
    """Whether its peer wants to be reached so, or has been or has called so."""
    return dialog.peer_is_secure or is_secure(dialog.invite.target)


def for_host(message: SomeMessage) -> SomeMessage:
    """As a host can take it; the message itself when it is so already."""
    to_one = isinstance(message, Request) and is_secure(message.target)
    if not (to_one or names_one(message)):
        return message
    changed = message.copy()
    if isinstance(changed, Request) and to_one:
        changed.target = _plain(changed.target)
    if names_one(changed):
        changed.headers.set("Contact", f"<{_plain(changed.contacts[0].uri.target)}>")
    return changed


def secured(uri: str) -> str:
    """What the peer had written in the place of a host's `sip:`."""
    return uri if is_secure(uri) else _SIPS + uri.partition(":")[2]


def _plain(uri: str) -> str:
    return "sip:" + uri[len(_SIPS) :]
