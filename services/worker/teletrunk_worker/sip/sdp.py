"""What of a session description (RFC 8866) matters before a media host sees it: addresses, and what sound it offers.

pjmedia resolves a name in its only thread, and aborts at an address that is too long for its buffer, or of another
family than it says; pjsua aborts at a medium without one, also at one that is off.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, pairwise

from teletrunk_worker.sip import sdes

LINE_END = re.compile(rb"(?<![ \t])[ \t]*+[\r\n]++")  # blanks before it mean nothing, and are looked at once
_CONNECTION = re.compile(rb"c=IN IP([46]) ([0-9A-Fa-f:.]{2,45})")
_RTCP = re.compile(rb"[aA]=rtcp:[0-9]{1,5}(?: IN IP([46]) ([0-9A-Fa-f:.]{2,45}))?", re.IGNORECASE)
_SENT_TO = re.compile(rb"(?m)^(c=IN IP4 |a=rtcp:[0-9]{1,5} IN IP4 )(?!0\.0\.0\.0\s*$)[0-9.]{7,15}")
# RTP has seven bits for it. pjmedia refuses all of a description for one that is none.
_PAYLOAD_TYPE = re.compile(rb"[0-9]{1,2}|1[01][0-9]|12[0-7]")
_RTPMAP = re.compile(
    rb"[aA]=rtpmap:(%s)\s+([A-Za-z0-9._\-]{1,40})/([0-9]{0,6})(?:/([0-9]{1,2}))?" % _PAYLOAD_TYPE.pattern
)
# Of the codecs that hosts have. G.722's is 8000 by a mistake that stayed (RFC 3551 4.5.2); old devices write the other.
_CLOCK_RATES = {
    "PCMA": ("8000",),
    "PCMU": ("8000",),
    "G722": ("8000", "16000"),
    "GSM": ("8000",),
    "ILBC": ("8000",),
    "SPEEX": ("8000", "16000", "32000"),
}
# RFC 3551: payload types that need no rtpmap.
_STATIC_CODECS = {
    b"0": "PCMU",
    b"3": "GSM",
    b"4": "G723",
    b"8": "PCMA",
    b"9": "G722",
    b"13": "CN",
    b"15": "G728",
    b"18": "G729",
}
STATIC_NUMBERS = {name: number for number, name in _STATIC_CODECS.items()}
_NEEDED = re.compile(rb"[vosctma]=")
_ORIGIN = re.compile(rb"o=\S{1,128} [0-9]{1,19} [0-9]{1,19} IN IP[46] \S{1,255}")  # 64 bits hold all of 19 digits
_NO_ORIGIN, _NO_NAME = b"o=- 0 0 IN IP4 0.0.0.0", b"s=-"
# RFC 8866 9. One grammar for all who look at it: what one of them takes for a port another must not.
_MEDIUM = re.compile(
    rb"m=[A-Za-z0-9!#$%&'*+.^_`{|}~\-]{1,40} ([0-9]{1,5})(?:/[0-9]{1,3})? [A-Za-z0-9/.\-]{1,40}(?: [^\s]{1,64}| )*"
)
# One that is declined, of which nothing else is said: RFC 3264 6 wants a place of it and no more.
_DECLINED = re.compile(rb"(m=[A-Za-z0-9\-]{1,40}) 0[ \t]*")
_KIND = re.compile(rb"\Am=[A-Za-z]{1,40}")
_NOWHERE = b"c=IN IP4 0.0.0.0"
_MOST_FORMATS = 32
_HIGHEST_PORT = 65_535
Change = Callable[[list[bytes]], list[bytes]]  # of one medium's lines


@dataclass(frozen=True)
class Sound:
    """A medium of sound that a description offers: its transport (RTP/AVP, ...), codecs in its order, IP version.

    `keyed`: with SRTP's keys in the description (RFC 4568). `has_other_keys`: with none but those that no host can use.
    """

    profile: str
    codecs: tuple[str, ...]
    ip_version: int
    keyed: bool = False
    has_other_keys: bool = False


def sounds(body: bytes) -> list[Sound]:
    """All that is offered, without what is declined (port 0)."""
    return [sound for sound in _by_medium(*media(LINE_END.split(body))) if sound is not None]


def with_one_sound(body: bytes, wanted: Callable[[Sound], bool]) -> bytes:
    """All media off (port 0) but the first sound that is wanted; when none is, but the first one.

    Who answers it declines the others, which keep their places (RFC 3264 6).
    """
    session, *all_media = media(LINE_END.split(body.rstrip(b"\r\n")))
    found = _by_medium(session, *all_media)
    places = [place for place, sound in enumerate(found) if sound is not None]
    taken = next((place for place in places if (sound := found[place]) and wanted(sound)), next(iter(places), 0))
    return joined(session, (lines if place == taken else _off(lines) for place, lines in enumerate(all_media)))


def in_its_places(answer: bytes, offer: bytes) -> bytes:
    """An answer that has the media of this offer (RFC 3264 6): its sound where sound was offered, whatever else it has
    or lacks, and in whatever order."""
    session, *found = media(LINE_END.split(answer.rstrip(b"\r\n")))
    _, *offered = media(LINE_END.split(offer.rstrip(b"\r\n")))
    place, wanted = place_of_sound(answer), place_of_sound(offer)
    if place is None or wanted is None or (place == wanted and len(found) == len(offered)):
        return answer
    # What is off has an address that is nobody's: the offer's own is ours.
    return joined(
        session, (found[place] if at == wanted else [_off(lines)[0], _NOWHERE] for at, lines in enumerate(offered))
    )


def place_of_sound(body: bytes) -> int | None:
    """Which of its media is the first sound that is not declined, from 0."""
    found = _by_medium(*media(LINE_END.split(body)))
    return next((place for place, sound in enumerate(found) if sound is not None), None)


def _off(lines: list[bytes]) -> list[bytes]:
    """With the address that a media host wants to see all the same, and formats that it can read."""
    kind, _, profile, *formats = lines[0].split()
    readable = [word for word in formats if not word[:1].isdigit() or _PAYLOAD_TYPE.fullmatch(word)] or [b"0"]
    return [b" ".join((kind, b"0", profile, *readable)), *(line for line in lines[1:] if line.startswith(b"c="))]


def _by_medium(session: list[bytes], *all_media: list[bytes]) -> list[Sound | None]:
    for_all = _ip_version(session, 4)
    return [_sound(lines, _ip_version(lines, for_all)) for lines in all_media]


def _ip_version(lines: list[bytes], otherwise: int) -> int:
    return next((int(c[1]) for line in lines if (c := _CONNECTION.fullmatch(line))), otherwise)


def has_sound(lines: list[bytes]) -> bool:
    """Whether this medium is sound, and not declined."""
    parts = lines[0][2:].split()
    return len(parts) >= 4 and parts[0].lower() == b"audio" and parts[1].split(b"/")[0] != b"0"


def _sound(lines: list[bytes], ip_version: int) -> Sound | None:
    """What this medium offers, if it is sound and not declined."""
    if not has_sound(lines):
        return None
    parts = lines[0][2:].split()
    names = codec_names(lines)
    codecs = (names.get(number) for number in parts[3 : 3 + _MOST_FORMATS])
    profile = parts[2].decode("ascii", "replace").upper()
    keyed = "SAVP" in profile and sdes.has_keys(lines)
    has_other_keys = sdes.has_other_keys_alone(lines)
    if has_other_keys and "SAVP" in profile:
        profile += " with an MKI or other suites"
    return Sound(profile, tuple(codec for codec in codecs if codec), ip_version, keyed, has_other_keys)


def codec_names(lines: list[bytes]) -> dict[bytes, str]:
    """What each payload type of a medium is, by these lines and by RFC 3551. A codec in a form that no host has (at
    another clock rate, in stereo) is another one, and has that in its name."""
    named = {m[1]: _codec_name(m) for line in lines if (m := _RTPMAP.match(line))}
    return _STATIC_CODECS | named


def _codec_name(rtpmap: re.Match[bytes]) -> str:
    number, name, rate, channels = (part.decode() for part in rtpmap.groups(default=b""))
    rates = _CLOCK_RATES.get(name.upper())
    if rates is None or (rate in rates and channels in ("", "1")):
        return name if name.upper() != "G722" or number == "9" else f"{name} ({number})"  # pjmedia has it as 9 alone
    return f"{name}/{rate}/{channels}".rstrip("/")


def clock_rates(lines: list[bytes]) -> dict[bytes, str]:
    """Of each payload type of a medium, as RTP has it."""
    named = {m[1]: m[3].decode() for line in lines if (m := _RTPMAP.match(line)) and m[2].upper() != b"G722"}
    return dict.fromkeys(_STATIC_CODECS, "8000") | named


def media(lines: list[bytes]) -> list[list[bytes]]:
    """The session's lines, then those of each medium."""
    starts = [0, *(place for place, line in enumerate(lines) if line.startswith(b"m=")), len(lines)]
    return [lines[start:end] for start, end in pairwise(starts)]


def joined(session: list[bytes], media: Iterable[list[bytes]]) -> bytes:
    """The description of these lines."""
    return b"\r\n".join(chain(session, *media)) + b"\r\n"


def needed(body: bytes) -> bytes:
    """Only the lines that a media host has a use for: pjmedia reads on behind the end of others, such as an empty b=,
    and aborts at what it then has not seen."""
    session, *all_media = media([_whole(line) for line in LINE_END.split(body) if _NEEDED.match(line)])
    return joined(_with_usual_head(session), all_media) if session or all_media else body


def _whole(line: bytes) -> bytes:
    """A medium that is declined in few words, as pjmedia can read it. It knows kinds of media in lower case alone."""
    line = _KIND.sub(lambda found: found[0].lower(), line)
    return _DECLINED.sub(rb"\1 0 RTP/AVP 0", line) if _DECLINED.fullmatch(line) else line


def _with_usual_head(session: list[bytes]) -> list[bytes]:
    """pjmedia refuses all of a description without a name, of another version or of times that are none, or whose
    numbers (RFC 8866 5.2: of any length) are more than 64 bits hold; nobody reads what they say."""
    origin = next((line for line in session if _ORIGIN.fullmatch(line)), _NO_ORIGIN)
    name = next((line for line in session if line.startswith(b"s=") and line != b"s="), _NO_NAME)
    rest = [line for line in session if not line.startswith((b"v=", b"o=", b"s=", b"t="))]
    return [b"v=0", origin, name, *rest, b"t=0 0"]


def objection(body: bytes) -> str:
    """What is wrong with the media and their addresses, for a reason phrase; empty when nothing is.

    Whatever the body says that it is: a description may be wrapped in another type.
    """
    lines = LINE_END.split(body)
    if any(line.startswith(b"m=") and not _is_medium(line) for line in lines):
        return "a medium cannot be read"
    if line := _unusable_address(lines):
        return f"no literal address: {line}"
    return f"no address for {line}" if (line := _without_address(lines)) else ""


def _is_medium(line: bytes) -> bool:
    found = _MEDIUM.fullmatch(line)
    return (found is not None and int(found[1]) <= _HIGHEST_PORT) or _DECLINED.fullmatch(line) is not None


def _without_address(lines: list[bytes]) -> str:
    """The first medium that has no connection line: neither its own nor the session's, which stands before them all."""
    medium, has_address, for_all = b"", False, False
    for line in lines:
        if line.startswith(b"m="):
            if medium and not has_address:
                break
            medium, for_all = line, for_all or (not medium and has_address)
            has_address = for_all
        elif line.startswith(b"c="):
            has_address = True
    return medium[:40].decode("ascii", "replace") if medium and not has_address else ""


def _unusable_address(lines: list[bytes]) -> str:
    for line in lines:
        kind = line[:7].lower()
        if kind.startswith(b"c="):
            found = _CONNECTION.fullmatch(line)
        elif kind == b"a=rtcp:":
            found = _RTCP.fullmatch(line)
        else:
            continue
        if found is None or not (found[1] is None or _is_address(found[1], found[2])):
            return line[:40].decode("ascii", "replace")
    return ""


def addresses(body: bytes) -> list[str]:
    """All that it wants anything sent to: of connection lines, and of RTCP where it says so."""
    found = []
    for line in LINE_END.split(body):
        match = _CONNECTION.fullmatch(line) or _RTCP.fullmatch(line)
        if match and match[2]:
            found.append(match[2].decode())
    return found


def at_address(body: bytes, address: str) -> bytes:
    """The description with this IPv4 address in place of each that it wants anything sent to; 0.0.0.0 stays a hold."""
    return _SENT_TO.sub(rb"\g<1>" + address.encode(), body)


def _is_address(family: bytes, text: bytes) -> bool:
    try:
        address = ipaddress.ip_address(text.decode())
    except ValueError:
        return False
    return address.version == int(family)
