"""SRTP with keys in the description (RFC 4568), as a trunk has it: off, optional, required, required-insecure.

A media host takes and offers both; what is allowed is decided by what each side gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from teletrunk import causes
from teletrunk.errors import Refusal

from teletrunk_worker.sip import sdes, sdp
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
    return _each(offer, lambda lines: _allowed(sdes.with_usable_keys(lines), sound))


def for_peer(body: bytes, sound: SoundTerms) -> bytes:
    """A host's offer or answer. What it offers is either way: RTP/AVP with keys."""
    if sound.srtp == "off":
        return _each(body, sdes.without_keys)
    return _each(body, lambda lines: _with_profile(lines, secure=True)) if sound.needs_srtp else body


def answer_for_host(body: bytes, sound: SoundTerms) -> bytes:
    """A peer's answer, in the profile that the host has offered; keys that it was not asked for stay here."""
    keys = sdes.without_keys if sound.srtp == "off" else sdes.with_usable_keys
    return _each(body, lambda lines: _with_profile(keys(lines), secure=False))


def with_offered_keys(answer: bytes, offer: bytes) -> bytes:
    """A peer's answer to this offer, without what it was not offered."""
    offered = sdes.offered_by(sdp.LINE_END.split(offer))
    return _each(answer, lambda lines: sdes.with_offered_key(lines, offered)) if offered else answer


def objection_to_answer(answer: bytes, sound: SoundTerms) -> Refusal | None:
    """Of a peer: in clear to what was offered with SRTP only, the reverse, or with keys that would make it silent."""
    found = sdp.sounds(answer)
    if sound.srtp == "off" and any("SAVP" in one.profile for one in found):  # it would encrypt
        return causes.SRTP_OFF.refusal()
    if sound.srtp != "off" and any(one.has_other_keys for one in found):
        return causes.RTP_PROFILE.refusal("keys with an MKI or of other suites or tags than asked for")
    if sound.needs_srtp and any(not one.keyed for one in found):
        return causes.SRTP_NOT_ANSWERED.refusal()
    return None


def _each(body: bytes, change: sdp.Change) -> bytes:
    session, *media = sdp.media(sdp.LINE_END.split(body.rstrip(b"\r\n")))
    return sdp.joined(session, [change(lines) for lines in media])


def _allowed(lines: list[bytes], sound: SoundTerms) -> list[bytes]:
    found = _PROFILE.match(lines[0])
    if found is None:
        return lines
    secure = bool(found[2])
    if sound.needs_srtp if not secure else sound.srtp == "off":
        return [re.sub(rb"^(m=audio) [0-9/]+", rb"\1 0", lines[0], flags=re.IGNORECASE), *sdes.without_keys(lines[1:])]
    return sdes.without_keys(lines) if sound.srtp == "off" else lines


def _with_profile(lines: list[bytes], *, secure: bool) -> list[bytes]:
    return [_PROFILE.sub(rb"\1S\3" if secure else rb"\1\3", lines[0]), *lines[1:]]
