"""Leaves in an offer of sound the codecs that a trunk has, in its order (RFC 3264, RFC 8866).

A media host answers in the order of the offer, and offers what all trunks may have: so the trunk's list is obeyed in
both directions by what each side gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from teletrunk.errors import Refusal

from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.sound import SoundTerms

_MEDIUM = re.compile(rb"(?i)(m=audio [0-9/]{1,12} \S{1,40}) ([0-9 ]{1,400})")
_OF_FORMAT = re.compile(rb"[aA]=(?:rtpmap|fmtp|rtcp-fb):([0-9]{1,3})[ \t]")
_PTIME = re.compile(rb"[aA]=(?:max)?ptime:")
_EVENTS = "TELEPHONE-EVENT"
_BESIDE = frozenset({_EVENTS, "CN"})  # no codecs: they go along


def restrict(body: bytes, sound: SoundTerms) -> bytes:
    """The description with only these codecs in each medium of sound; as it came where none of them is offered."""
    lines = sdp.LINE_END.split(body.rstrip(b"\r\n"))
    session, *media = sdp.media(lines)
    if not media:
        return body
    return sdp.joined(session, [_medium(medium, sound) for medium in media])


def with_ptime(body: bytes, ptime_ms: int) -> bytes:
    """The description asking for packets of this length: whoever reads it sends them so (RFC 8866 6.4)."""
    session, *media = sdp.media(sdp.LINE_END.split(body.rstrip(b"\r\n")))
    return sdp.joined(session, [_with_ptime(medium, ptime_ms) for medium in media])


def _with_ptime(lines: list[bytes], ptime_ms: int) -> list[bytes]:
    if not lines[0].lower().startswith(b"m=audio"):
        return lines
    others = [line for line in lines if not _PTIME.match(line)]
    return [*others, b"a=ptime:%d" % ptime_ms]


def _medium(lines: list[bytes], sound: SoundTerms) -> list[bytes]:
    found = _MEDIUM.fullmatch(lines[0].rstrip())
    if found is None:
        return lines
    formats = found[2].split()
    names = sdp.codec_names(lines)
    named = {number: names.get(number, "").upper() for number in formats}
    kept = [number for codec in sound.codecs for number in formats if named[number] == codec]
    if not kept:
        return lines
    beside = _BESIDE if sound.has_events else _BESIDE - {_EVENTS}
    kept += [number for number in formats if named[number] in beside]
    others = set(formats) - set(kept)
    rest = [line for line in lines[1:] if (m := _OF_FORMAT.match(line)) is None or m[1] not in others]
    return [found[1] + b" " + b" ".join(kept), *rest]


def lacks(offered: Sequence[str], codecs: Sequence[str]) -> bool:
    """Whether an offer has none of a trunk's codecs."""
    return not {name.upper() for name in offered} & set(codecs)


def refusal_of(offered: Sequence[str], codecs: Sequence[str]) -> Refusal | None:
    """The row of an offer that has none of a trunk's codecs."""
    if not lacks(offered, codecs):
        return None
    names = [name for name in offered if name.upper() not in _BESIDE]
    said = f"offered {', '.join(names) or 'none'}; this trunk has {', '.join(codecs)}"
    return Refusal("no-common-codec", said)
