"""Who calls from Telegram, as a PBX reads it: the From of the INVITE, and one header for each thing that is known.

Names are people's own: whatever would end a header, a quoted string or a line of a terminal is left out.
"""

from __future__ import annotations

from typing import Final

from teletrunk.v1 import call_pb2

from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.transport.flow import Address

_LONGEST = 128  # characters of a name: a host cannot send more than some 4,000 bytes
Headers = tuple[tuple[str, str], ...]
_FIELDS: Final = (
    ("X-TG-Username", "username"),
    ("X-TG-Phone", "phone"),
    ("X-TG-FirstName", "first_name"),
    ("X-TG-LastName", "last_name"),
)


def from_header(caller_id: str, name: str, public: Address) -> str:
    """A name-addr whose user is what the trunk's caller is known by."""
    return f'"{plain(name)}" <sip:{caller_id}@{bracketed(public[0])}:{public[1]}>'


def headers_of(caller: call_pb2.Peer) -> Headers:
    """X-TG-ID, and those of the others that Telegram tells."""
    told = ((name, plain(getattr(caller, field))) for name, field in _FIELDS)
    return (("X-TG-ID", str(caller.user_id)), *((name, value) for name, value in told if value))


def as_account(account: str, caller: str, headers: Headers) -> tuple[str, Headers]:
    """At a PBX where we have registered: it knows us by our address of record there, and who calls by RFC 3325."""
    display, _, _ = caller.partition(" <")
    return f"{display} <{account}>", (("P-Asserted-Identity", caller), *headers)


def plain(name: str) -> str:
    """On one line, without quotes, and without marks that turn the text around them."""
    return " ".join("".join(c if c.isprintable() and c not in '"\\' else " " for c in name[:_LONGEST]).split())
