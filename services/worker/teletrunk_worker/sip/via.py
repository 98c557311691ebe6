"""Via (RFC 3261 20.42): each entry is kept as it was written, since it goes back byte for byte (18.2.1, 8.2.6.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from teletrunk_worker.sip.scanner import Malformed, Parameters, parameters, split

_SENT_BY = re.compile(
    r"SIP\s*+/\s*+2\.0\s*+/\s*+([A-Za-z0-9.\-]{1,20})\s++(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.\-]{1,255})"
    r"\s*+(?::\s*+([0-9]{1,5}))?\s*+",
    re.IGNORECASE,
)
_LONGEST_BRANCH = 256


@dataclass(frozen=True)
class Via:
    """One hop. `text` is what was written."""

    text: str
    transport: str
    host: str
    port: int | None
    parameters: Parameters

    @property
    def branch(self) -> str:
        return self.parameters.get("branch") or ""

    def seen_from(self, host: str, port: int) -> str:
        """The entry with where its request really came from (RFC 3261 18.2.1, RFC 3581 4); all else as it was."""
        wants_port = "rport" in self.parameters
        if not wants_port and self.host == host:
            return self.text
        sent_by, *rest = split(self.text, ";")
        kept = [part for part in rest if part.partition("=")[0].strip().lower() not in ("received", "rport")]
        source = [f"rport={port}"] if wants_port else []
        return ";".join([sent_by, *kept, *source, f"received={host}"])


def parse_via(text: str) -> Via:
    """Raises `Malformed`."""
    found = _SENT_BY.match(text)
    if found is None:
        raise Malformed("Via cannot be read")
    port = int(found[3]) if found[3] else None
    if port is not None and port > 65_535:
        raise Malformed("Via's port is no port")
    via = Via(text, found[1].upper(), found[2].strip("[]"), port, parameters(text[found.end() :]))
    if len(via.branch) > _LONGEST_BRANCH:
        raise Malformed("Via's branch is too long")
    return via
