"""What sound a dialog may have: what a trunk has been set to, as descriptions and media hosts are to follow it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from teletrunk.codecs import USUAL, WIDE_BAND


@dataclass(frozen=True)
class SoundTerms:
    """`codecs` are in the order in which they are preferred. `dtmf` is rfc4733, info or inband; empty is either of the
    first two, whatever the PBX begins with. `ptime_ms` is how much sound a packet holds; 0: as the peer wants it.

    `srtp` is off, optional, required, or required-insecure: required where its keys can be read on the way, too.
    `hold`, silence or music, is what Telegram hears of a PBX that holds the call and sends nothing.
    `record_digits` lets records and logs have which keys were pressed.
    """

    codecs: tuple[str, ...] = USUAL
    dtmf: str = ""
    ptime_ms: int = 0
    srtp: str = "off"
    hold: str = "silence"
    record_digits: bool = False

    def is_wide(self, offered: Iterable[str] | None = None) -> bool:
        """Whether the codec that comes first is a wide-band one; `offered`: what there is to choose from, if known."""
        there = None if offered is None else {name.upper() for name in offered}
        first = next((codec for codec in self.codecs if there is None or codec in there), "")
        return first in WIDE_BAND

    @property
    def needs_srtp(self) -> bool:
        return self.srtp.startswith("required")

    @property
    def has_events(self) -> bool:
        """Whether digits may come as RFC 4733's events."""
        return self.dtmf in ("", "rfc4733")
