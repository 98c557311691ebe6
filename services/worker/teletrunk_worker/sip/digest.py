"""What challenges and their answers have in common: the parameters behind `Digest` (RFC 7616 3.3, 3.4)."""

from __future__ import annotations

from teletrunk_worker.sip.message import LONGEST_VALUE
from teletrunk_worker.sip.scanner import Malformed, split, unquoted


def parameters(value: str) -> dict[str, str] | None:
    """By their names in lower case; of one that comes twice the first. None for another scheme, or what is none."""
    scheme, *rest = value[: LONGEST_VALUE + 1].split(maxsplit=1) or [""]
    if scheme.lower() != "digest" or len(value) > LONGEST_VALUE:
        return None
    try:
        parts = split("".join(rest), ",", brackets=False)
    except Malformed:
        return None
    found: dict[str, str] = {}
    for part in parts:
        name, equals, text = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), unquoted(text.strip()))
    return found
