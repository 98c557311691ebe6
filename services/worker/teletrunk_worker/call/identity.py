"""Who calls from Telegram, as a PBX reads it: the From of the INVITE, and one header for each thing that is known.

Names are people's own: whatever would end a header, a quoted string or a line of a terminal is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from teletrunk.identifiers import ANONYMOUS, ANONYMOUS_NAME
from teletrunk.names import plain
from teletrunk.v1 import call_pb2

from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.transport.flow import Address
from teletrunk_worker.sip.uri import escaped

Headers = tuple[tuple[str, str], ...]
_UNKNOWN: Final = f"sip:{ANONYMOUS}"
_FIELDS: Final = (
    ("X-TG-Username", "username"),
    ("X-TG-Phone", "phone"),
    ("X-TG-FirstName", "first_name"),
    ("X-TG-LastName", "last_name"),
)


@dataclass(frozen=True)
class Caller:
    """How whoever calls looks. Name and address stay apart until a header is written: no name is ever read again."""

    name: str
    uri: str

    @classmethod
    def of(cls, caller_id: str, name: str, public: Address) -> Caller:
        """Whose user is what the trunk's caller is known by."""
        if caller_id == ANONYMOUS:
            return cls(ANONYMOUS_NAME, _UNKNOWN)
        return cls(plain(name), f"sip:{escaped(caller_id)}@{bracketed(public[0])}:{public[1]}")

    def from_header(self, account: str | None = None) -> str:
        """At a PBX where we have registered it is our `account` there, by which the PBX knows us."""
        return f'"{self.name}" <{account or self.uri}>'

    def asserted(self) -> Headers:
        """What a PBX that trusts its trunk goes by (RFC 3325); of who stays unknown, that it is meant (RFC 3323)."""
        if self.uri == _UNKNOWN:
            return (("Privacy", "id"),)
        return (("P-Asserted-Identity", self.from_header()),)


def headers_of(caller: call_pb2.Peer) -> Headers:
    """X-TG-ID, and those of the others that Telegram tells."""
    told = ((name, plain(getattr(caller, field))) for name, field in _FIELDS)
    return (("X-TG-ID", str(caller.user_id)), *((name, value) for name, value in told if value))
