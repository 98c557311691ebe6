"""Leaves in an offer of sound the codecs that a trunk has, in its order (RFC 3264, RFC 8866).

A media host answers in the order of the offer, and offers what all trunks may have: so the trunk's list is obeyed in
both directions by what each side gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from teletrunk.errors import Refusal

from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.sound import SoundTerms

_MEDIUM = re.compile(rb"(?i)(m=audio [0-9/]{1,12} \S{1,40}) ([0-9 ]{1,400})")
_OF_FORMAT = re.compile(rb"[aA]=(?:rtpmap|fmtp|rtcp-fb):([0-9]{1,3})[ \t]")
_PTIME = re.compile(rb"[aA]=(?:max)?ptime:")
_WISH = re.compile(rb"[aA]=(max)?ptime:[ \t]*([0-9]{1,5})")
_USUAL_MS, _SHORTEST_MS, _LONGEST_MS = 20, 10, 60  # of a packet
_EVENTS = "TELEPHONE-EVENT"
_BESIDE = frozenset({_EVENTS, "CN"})  # no codecs: they go along
_Names = Mapping[bytes, str]  # by payload type, in the order of the medium


def restrict(body: bytes, sound: SoundTerms) -> bytes:
    """The description with only these codecs in each medium of sound; as it came where none of them is offered."""

    def change(lines: list[bytes]) -> list[bytes]:
        named = _names(lines)
        return _medium(lines, named, _in_the_trunks_order(named, sound.codecs), sound)

    return _each(body, change)


def restrict_answer(body: bytes, sound: SoundTerms) -> bytes:
    """The same of an answer, in its own order: a host takes what it is answered, though the peer was not offered it."""

    def change(lines: list[bytes]) -> list[bytes]:
        named = _names_answered(lines)
        return _medium(lines, named, _in_their_order(named, sound.codecs), sound)

    return _each(body, change)


def with_ptime(body: bytes, ptime_ms: int) -> bytes:
    """The description asking for packets of this length: whoever reads it sends them so (RFC 8866 6.4)."""
    return _each(body, lambda lines: _with_ptime(lines, ptime_ms))


def with_short_ptime(body: bytes) -> bytes:
    """The description without a wish for packets that no host can make: of 200 ms and more pjmedia sends none at all;
    and a limit (`maxptime`) it passes over."""
    return _each(body, _with_short_ptime)


def _with_short_ptime(lines: list[bytes]) -> list[bytes]:
    wishes = {bool(m[1]): int(m[2]) for line in lines if (m := _WISH.match(line))}
    wanted, limit = wishes.get(False) or _USUAL_MS, wishes.get(True) or _LONGEST_MS
    longest = max(_SHORTEST_MS, min(limit, _LONGEST_MS))
    return lines if wanted <= longest else _with_ptime(lines, longest)


def _with_ptime(lines: list[bytes], ptime_ms: int) -> list[bytes]:
    if not lines[0].lower().startswith(b"m=audio"):
        return lines
    others = [line for line in lines if not _PTIME.match(line)]
    return [*others, b"a=ptime:%d" % ptime_ms]


def _each(body: bytes, change: sdp.Change) -> bytes:
    session, *media = sdp.media(sdp.LINE_END.split(body.rstrip(b"\r\n")))
    return sdp.joined(session, [change(medium) for medium in media]) if media else body


def _in_the_trunks_order(named: _Names, codecs: Sequence[str]) -> list[bytes]:
    return [number for codec in codecs for number in named if named[number] == codec]


def _in_their_order(named: _Names, codecs: Sequence[str]) -> list[bytes]:
    return [number for number in named if named[number] in codecs]


def _names(lines: list[bytes]) -> _Names:
    """Of a medium of sound."""
    found = _MEDIUM.fullmatch(lines[0].rstrip())
    names = sdp.codec_names(lines)
    return {number: names.get(number, "").upper() for number in (found[2].split() if found else ())}


def _names_answered(lines: list[bytes]) -> _Names:
    """A host has offered what has a number of its own (RFC 3551) by that, and takes it at no other."""

    def name_of(number: bytes, name: str) -> str:
        own = sdp.STATIC_NUMBERS.get(name, number)
        return name if own == number else f"{name} ({number.decode()})"

    return {number: name_of(number, name) for number, name in _names(lines).items()}


def _medium(lines: list[bytes], named: _Names, kept: list[bytes], sound: SoundTerms) -> list[bytes]:
    found = _MEDIUM.fullmatch(lines[0].rstrip())
    if found is None or not kept:
        return lines
    kept = [*kept, *_beside(lines, named, kept, has_events=sound.has_events)]
    others = set(named) - set(kept)
    rest = [line for line in lines[1:] if (m := _OF_FORMAT.match(line)) is None or m[1] not in others]
    return [found[1] + b" " + b" ".join(kept), *rest]


def _beside(lines: list[bytes], named: _Names, kept: list[bytes], *, has_events: bool) -> list[bytes]:
    """What goes along: of events those with the clock of a codec that is there (RFC 4733 2.1), if there are such."""
    clocks = sdp.clock_rates(lines)
    events = [number for number in named if has_events and named[number] == _EVENTS]
    fitting = [number for number in events if clocks.get(number) in {clocks.get(codec) for codec in kept}]
    there = {*(fitting or events), *(number for number in named if named[number] == "CN")}
    return [number for number in named if number in there]


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


def refusal_of_answer(body: bytes, sound: SoundTerms) -> Refusal | None:
    """The row of an answer without sound, or with sound in none of a trunk's codecs."""
    _, *media = sdp.media(sdp.LINE_END.split(body))
    answered = [_names_answered(lines) for lines in media if sdp.has_sound(lines)]
    if any(_in_their_order(named, sound.codecs) for named in answered):
        return None
    names = [name for named in answered for name in named.values() if name and name not in _BESIDE]
    return Refusal("no-common-codec", f"answered {', '.join(names) or 'no sound'}; offered {', '.join(sound.codecs)}")
