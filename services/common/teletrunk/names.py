"""Names that people have given themselves, as others may be shown them."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 128  # characters
_LARGEST: Final = 384  # bytes: of all that is said of a caller a SIP host sends some 4,000
# Letters and pictures that show nothing: with them somebody looks as if there were no name.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_QUOTES: Final = frozenset('"\\')


def plain(name: str) -> str:
    """On one line, without quotes, without marks that turn the text around them, and without what shows nothing."""
    shown = "".join(c if c.isprintable() and c not in _QUOTES and c not in _BLANK else " " for c in name[:_LONGEST])
    return " ".join(shown.encode()[:_LARGEST].decode(errors="ignore").split())
