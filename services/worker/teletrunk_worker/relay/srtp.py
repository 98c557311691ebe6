"""SRTP with keys in the description (RFC 4568), as a trunk has it: off, optional, required, required-insecure.

A media host takes and offers both; what is allowed is decided by what each side gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from teletrunk import causes
from teletrunk.errors import Refusal

from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.sound import SoundTerms

_PROFILE = re.compile(rb"(?i)(m=audio [0-9/]{1,12} RTP/)(S?)(AVPF?)(?= )")
_SECURE_SIGNALLING: Final = frozenset({"TLS", "WSS"})


def refusal_of(offered: Collection[bool], sound: SoundTerms) -> Refusal | None:
    """The row of an offer; `offered`: whether sound is offered with SRTP, without, or (both) either way."""
    if sound.needs_srtp and True not in offered:
        return causes.SRTP_NOT_OFFERED.refusal()
    if sound.srtp == "off" and offered and False not in offered:
        return causes.SRTP_OFF.refusal()
    return None


def refusal_over(transport: str, sound: SoundTerms) -> Refusal | None:
    """Keys that anybody on the way can read protect nothing."""
    if sound.srtp != "required" or transport.upper() in _SECURE_SIGNALLING:
        return None
    return causes.SRTP_KEYS_READABLE.refusal(transport)


def for_host(offer: bytes, sound: SoundTerms) -> bytes:
    """A peer's offer, without the media that the trunk does not allow; without keys where it has SRTP off."""
    return _each(offer, lambda lines: _allowed(sdp.without_mki(lines), sound))


def for_peer(body: bytes, sound: SoundTerms) -> bytes:
    """A host's offer or answer. What it offers is either way: RTP/AVP with keys."""
    if sound.srtp == "off":
        return _each(body, _without_keys)
    return _each(body, lambda lines: _with_profile(lines, secure=True)) if sound.needs_srtp else body


def answer_for_host(body: bytes, sound: SoundTerms) -> bytes:
    """A peer's answer, in the profile that the host has offered; keys that it was not asked for stay here."""
    answer = _each(body, lambda lines: _with_profile(lines, secure=False))
    return _each(answer, _without_keys) if sound.srtp == "off" else answer


def is_broken_by(answer: bytes, sound: SoundTerms) -> bool:
    """Whether a peer answers in clear what was offered with SRTP only."""
    return sound.needs_srtp and any(not one.keyed for one in sdp.sounds(answer))


def _each(body: bytes, change: sdp.Change) -> bytes:
    session, *media = sdp.media(sdp.LINE_END.split(body.rstrip(b"\r\n")))
    return sdp.joined(session, [change(lines) for lines in media])


def _without_keys(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not sdp.is_crypto(line)]


def _allowed(lines: list[bytes], sound: SoundTerms) -> list[bytes]:
    found = _PROFILE.match(lines[0])
    if found is None:
        return lines
    secure = bool(found[2])
    if sound.needs_srtp if not secure else sound.srtp == "off":
        return [re.sub(rb"^(m=audio) [0-9/]+", rb"\1 0", lines[0], flags=re.IGNORECASE), *_without_keys(lines[1:])]
    return _without_keys(lines) if sound.srtp == "off" else lines


def _with_profile(lines: list[bytes], *, secure: bool) -> list[bytes]:
    return [_PROFILE.sub(rb"\1S\3" if secure else rb"\1\3", lines[0]), *lines[1:]]
