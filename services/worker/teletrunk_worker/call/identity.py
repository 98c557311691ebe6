"""Who calls from Telegram, as a PBX reads it: the From of the INVITE, and one header for each thing that is known.

Names are people's own: whatever would end a header, a quoted string or a line of a terminal is left out.
"""

from __future__ import annotations

from typing import Final

from teletrunk.identifiers import ANONYMOUS, ANONYMOUS_NAME
from teletrunk.v1 import call_pb2

from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.transport.flow import Address
from teletrunk_worker.sip.uri import escaped

_LONGEST = 128  # characters of a name: a host cannot send more than some 4,000 bytes
_ANONYMOUS: Final = f'"{ANONYMOUS_NAME}" <sip:{ANONYMOUS}>'
Headers = tuple[tuple[str, str], ...]
_FIELDS: Final = (
    ("X-TG-Username", "username"),
    ("X-TG-Phone", "phone"),
    ("X-TG-FirstName", "first_name"),
    ("X-TG-LastName", "last_name"),
)


def from_header(caller_id: str, name: str, public: Address) -> str:
    """A name-addr whose user is what the trunk's caller is known by."""
    if caller_id == ANONYMOUS:
        return _ANONYMOUS
    return f'"{plain(name)}" <sip:{escaped(caller_id)}@{bracketed(public[0])}:{public[1]}>'


def asserted(caller: str) -> Headers:
    """What a PBX that trusts its trunk goes by (RFC 3325); of who stays unknown, that it is meant (RFC 3323)."""
    return (("Privacy", "id"),) if caller == _ANONYMOUS else (("P-Asserted-Identity", caller),)


def headers_of(caller: call_pb2.Peer) -> Headers:
    """X-TG-ID, and those of the others that Telegram tells."""
    told = ((name, plain(getattr(caller, field))) for name, field in _FIELDS)
    return (("X-TG-ID", str(caller.user_id)), *((name, value) for name, value in told if value))


def shown(caller: str, account: str | None) -> str:
    """The From. At a PBX where we have registered it is our `account` there, by which the PBX knows us."""
    display, _, _ = caller.partition(" <")
    return caller if account is None else f"{display} <{account}>"


def plain(name: str) -> str:
    """On one line, without quotes, and without marks that turn the text around them."""
    return " ".join("".join(c if c.isprintable() and c not in '"\\' else " " for c in name[:_LONGEST]).split())
