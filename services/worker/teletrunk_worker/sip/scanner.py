"""How header values are cut up (RFC 3261 25.1): in linear time, whatever a stranger writes.

Every repetition of the patterns is possessive: what was taken is never given back, so nothing is tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Parameters = Mapping[str, str | None]

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_PART = {
    (",", True): re.compile(rf'(?:[^"<,]++|{_QUOTED}|<[^>]*+>)*+', re.DOTALL),
    (";", True): re.compile(rf'(?:[^"<;]++|{_QUOTED}|<[^>]*+>)*+', re.DOTALL),
    (",", False): re.compile(rf'(?:[^",]++|{_QUOTED})*+', re.DOTALL),
}
_MOST_PARTS = 256
IN_TOKENS: Final = r"[A-Za-z0-9.!%*_+`'~\-]"  # a character of a token (RFC 3261 25.1), for patterns
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Malformed(ValueError):
    """Cannot be read as SIP. The text names the part, and is fit for a reason phrase."""


class TooLarge(Malformed):
    """Longer than is read."""


def split(text: str, separator: str, *, brackets: bool = True) -> list[str]:
    """The parts between the commas or semicolons that stand outside quoted strings and angle brackets, stripped.

    Without `brackets` these mean nothing, as in a digest.
    Raises `Malformed` for a quoted string or a bracket without an end, and for more parts than anybody reads.
    """
    pattern, parts, start = _PART[separator, brackets], [], 0
    while True:
        found = pattern.match(text, start)
        end = found.end() if found is not None else start
        parts.append(text[start:end].strip())
        if end == len(text):
            return parts
        if len(parts) == _MOST_PARTS:
            raise Malformed("too many entries")
        if text[end] != separator:
            raise Malformed("a quote or bracket without an end")
        start = end + 1


def readable(text: str) -> str:
    """For whoever takes only text, such as logs and records: bytes that were no UTF-8 are marked as lost."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def unquoted(text: str) -> str:
    """The content of a quoted string; other text as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(r"\1", text[1:-1])
    return text


def quoted(text: str) -> str:
    """As a quoted string, which `unquoted` reads."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parameters(text: str) -> Parameters:
    """`;name=value;flag`: names in lower case, values without quotes, None for a flag. The first of a name counts.

    Raises `Malformed` when there is something before the first semicolon.
    """
    first, *rest = split(text, ";")
    if first:
        raise Malformed("text before the parameters")
    found: dict[str, str | None] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if name:
            found.setdefault(name.strip().lower(), unquoted(value.strip()) if equals else None)
    return found
