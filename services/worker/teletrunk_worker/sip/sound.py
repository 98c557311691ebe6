"""What sound a dialog may have: what a trunk has been set to, as descriptions and media hosts are to follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CODECS: Final = ("PCMA", "PCMU", "G722")  # of a trunk that nobody has set


@dataclass(frozen=True)
class SoundTerms:
    """`codecs` are in the order in which they are preferred. `dtmf` is rfc4733, info or inband; empty is either of the
    first two, whatever the PBX begins with."""

    codecs: tuple[str, ...] = CODECS
    dtmf: str = ""

    @property
    def has_events(self) -> bool:
        """Whether digits may come as RFC 4733's events."""
        return self.dtmf in ("", "rfc4733")
