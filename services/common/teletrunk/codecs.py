"""The codecs that there are: what a trunk may be set to, and what a SIP host switches on."""

from __future__ import annotations

from typing import Final

# What the pinned pjsua2 has, without L16: it has that at 44.1 kHz only, whose packets no network takes whole.
CODECS: Final = ("PCMA", "PCMU", "G722", "GSM", "ILBC", "SPEEX")
WIDE_BAND: Final = frozenset({"G722", "SPEEX"})  # 7 kHz of sound and not 3.4
USUAL: Final = ("PCMA", "PCMU", "G722")  # of a trunk that nobody has set
LACKING: Final = frozenset({"OPUS", "L16", "G729", "G726", "AMR", "AMR-WB", "G723", "SILK"})
