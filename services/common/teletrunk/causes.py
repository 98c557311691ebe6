"""The causes of a row that has several: what each says after the row's phrase, and its own words for what to do.

Whoever refuses names the cause (`causes.TRUNK_OFF.refusal()`); it goes along as data, between services and in records.
`docs/errors.md`, `teletrunk explain` and the doctor take their words from here. Only what a person has pasted is looked
at for what a cause says (`in_words`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from teletrunk.errors import TABLE, Refusal, Row
from teletrunk.remedies import (
    ASSIGN,
    CHANGE_TRUNK,
    DRAIN,
    GET_TRUNK,
    LIFT_BAN,
    TRUST,
    Part,
    Shows,
    command_line,
    filled_in,
)
from teletrunk.v1 import call_pb2

_PLACE = "{}"
_CHANGE = CHANGE_TRUNK.of(trunk="LOGIN")


@dataclass(frozen=True)
class Cause:
    """`said`: what follows the row's phrase, with `{}` for what the moment brings; empty: it is in no phrase."""

    code: call_pb2.RefusalCause.ValueType
    row: str
    said: str
    essence: str
    advice: Sequence[Part]

    @property
    def name(self) -> str:
        """As people are told it."""
        return call_pb2.RefusalCause.Name(self.code).removeprefix("REFUSAL_CAUSE_").lower().replace("_", "-")

    @property
    def remedy(self) -> str:
        """What to do, for a person at the command line."""
        return command_line(self.advice)

    def refusal(self, *words: str, retry_after: int = 0) -> Refusal:
        return Refusal(self.row, self.said.format(*words), retry_after, self.code)

    def is_said_in(self, text: str) -> bool:
        """`text` is in small letters, with single spaces."""
        pattern = ".+".join(map(re.escape, self.said.lower().split(_PLACE)))
        return bool(self.said) and re.search(pattern, text) is not None


SRTP_KEYS_READABLE: Final = Cause(
    call_pb2.REFUSAL_CAUSE_SRTP_KEYS_READABLE, "no-common-codec",
    "this trunk requires SRTP, whose keys can be read over {}: use TLS, or SRTP required-insecure",
    "The trunk requires SRTP, whose keys stand in the signalling, which is not encrypted.",
    ("Let the PBX come by TLS (", Shows(GET_TRUNK.of(trunk="LOGIN"), "where"), "), or do without that: ",
     _CHANGE.giving("--srtp required-insecure", "options.srtp required-insecure"), "."))  # fmt: skip
SRTP_NOT_OFFERED: Final = Cause(
    call_pb2.REFUSAL_CAUSE_SRTP_NOT_OFFERED, "no-common-codec",
    "offered RTP/AVP; this trunk requires SRTP (RTP/SAVP with a=crypto)",
    "The trunk requires SRTP, and the PBX sends its sound in clear.",
    ("Switch on SRTP with SDES in the PBX, or let the trunk do without: ",
     _CHANGE.giving("--srtp optional", "options.srtp optional"), "."))  # fmt: skip
SRTP_NOT_ANSWERED: Final = Cause(
    call_pb2.REFUSAL_CAUSE_SRTP_NOT_ANSWERED, "no-common-codec",
    "answered in clear; this trunk requires SRTP",
    "The trunk requires SRTP, and the PBX has taken the call in clear.", SRTP_NOT_OFFERED.advice)  # fmt: skip
SRTP_OFF: Final = Cause(
    call_pb2.REFUSAL_CAUSE_SRTP_OFF, "no-common-codec",
    "offered SRTP (RTP/SAVP); this trunk has it off",
    "The PBX wants SRTP, which the trunk has off.",
    ("Allow it in the trunk: ", _CHANGE.giving("--srtp optional", "options.srtp optional"),
     "; or switch it off in the PBX."))  # fmt: skip
RTP_PROFILE: Final = Cause(
    call_pb2.REFUSAL_CAUSE_RTP_PROFILE,
    "no-common-codec",
    "offered {}; the gateway has RTP/AVP and RTP/SAVP with a=crypto",
    "The PBX wants SRTP with keys by DTLS, as WebRTC has it, has an MKI beside each of its keys, or none of the suites "
    "AES_CM_128_HMAC_SHA1_80 and _32, AES_256_CM_HMAC_SHA1_80 and _32.",
    (
        "Set the PBX to SRTP with SDES, one of these suites and no MKI, or to none, on this trunk (Asterisk: "
        "media_encryption=sdes, webrtc=no).",
    ),
)
SOUND_OVER_IPV6: Final = Cause(
    call_pb2.REFUSAL_CAUSE_SOUND_OVER_IPV6, "no-common-codec",
    "offered sound over IPv6; the gateway has IPv4",
    "The PBX wants its sound over IPv6, which the gateway does not have.",
    ("Let the PBX offer an IPv4 address for its sound.",))  # fmt: skip
TRANSPORT_NOT_ALLOWED: Final = Cause(
    call_pb2.REFUSAL_CAUSE_TRANSPORT_NOT_ALLOWED, "ip-not-allowed",
    "{} is not a transport of this trunk: use {}",
    "The password is right, but the PBX comes by a transport that the trunk does not allow.",
    ("Set the PBX to a transport that the phrase names, or allow this one: ",
     _CHANGE.giving("--transports", "options.transports"), "."))  # fmt: skip
ADDRESS_BANNED: Final = Cause(
    call_pb2.REFUSAL_CAUSE_ADDRESS_BANNED, "ip-not-allowed",
    "banned for {} s after too many failures",
    "The address is turned away for a while: it came too often with wrong passwords or logins.",
    ("Correct the login and password in the PBX there first, then: ", LIFT_BAN, "."))  # fmt: skip
LOGIN_RESTS: Final = Cause(
    call_pb2.REFUSAL_CAUSE_LOGIN_RESTS, "ip-not-allowed",
    "too many wrong passwords for this login, wait {} s",
    "The login rests for a while: it was tried too often with wrong passwords, by whomever.",
    ("Correct the password in whatever PBX or phone tries it. If it is strangers who guess, let the trunk be used "
     "from your PBX only: ", TRUST.of(trunk="LOGIN"), "."))  # fmt: skip
MD5_NOT_ALLOWED: Final = Cause(
    call_pb2.REFUSAL_CAUSE_MD5_NOT_ALLOWED, "unauthorized",
    "this trunk needs SHA-256",
    "The trunk lets nobody in with MD5, and the PBX knows nothing better.",
    ("Switch on SHA-256 (RFC 8760) in the PBX, or allow MD5: ", _CHANGE.giving("--md5", "sha256_only false"),
     "."))  # fmt: skip
TRUNK_OFF: Final = Cause(
    call_pb2.REFUSAL_CAUSE_TRUNK_OFF, "session-access-revoked",
    "the trunk is switched off",
    "The trunk is switched off.",
    ("Switch it on: ", _CHANGE.giving("--on", "options.off false"), "."))  # fmt: skip
ASSIGNED_ELSEWHERE: Final = Cause(
    call_pb2.REFUSAL_CAUSE_ASSIGNED_ELSEWHERE, "session-access-revoked",
    "the account is assigned to another Worker",
    "The account is assigned to other Workers than this one.",
    ("Let the PBX use a Worker that has the account, or assign this one, too: ", ASSIGN, "."))  # fmt: skip
TRUNK_DOES_NOT_REGISTER: Final = Cause(
    call_pb2.REFUSAL_CAUSE_TRUNK_DOES_NOT_REGISTER, "registration-type-not-allowed",
    "this trunk's PBX does not register here",
    "The trunk is of a kind whose PBX does not register here.",
    ("Let the PBX call without registering, or change the kind: ",
     _CHANGE.giving("--kind registers", "options.kind TRUNK_KIND_UNSPECIFIED"), "."))  # fmt: skip
NO_MORE_REGISTRATIONS: Final = Cause(
    call_pb2.REFUSAL_CAUSE_NO_MORE_REGISTRATIONS, "worker-off",
    "it takes no more calls",
    "The Worker is being drained: it takes no more calls and registrations.",
    ("Use another Worker, or let this one take up work again: ",
     DRAIN.of(worker_id="WORKER").giving("--off", "on false"), "."))  # fmt: skip
NO_MORE_CALLS: Final = replace(
    NO_MORE_REGISTRATIONS, code=call_pb2.REFUSAL_CAUSE_NO_MORE_CALLS, row="worker-restarting"
)
TOO_MANY_AT_ONCE: Final = Cause(
    call_pb2.REFUSAL_CAUSE_TOO_MANY_AT_ONCE,
    "manager-unreachable",
    "too many requests at once",
    "The Worker has as many questions to the Manager under way as it may have, of all PBXs or of this login.",
    ("Let the PBX try again, and not everything at once. If it stays, see why the Manager is slow to answer.",),
)
NO_SOUND: Final = Cause(
    call_pb2.REFUSAL_CAUSE_NO_SOUND,
    "pbx-unreachable",
    "no sound from it for a minute",
    "The PBX has sent no sound in a call that was up.",
    (
        "See that the PBX is there, that it sends the codec that was agreed (the record names it), and that no "
        "firewall between it and the Worker forgets the way of its sound.",
    ),
)
NO_WORKER_REACHES_OUT: Final = Cause(
    call_pb2.REFUSAL_CAUSE_NO_WORKER_REACHES_OUT, "pbx-unreachable", "",
    "The PBX does not register here, and no Worker reaches out to it.",
    ("Attach a Worker that may (TELETRUNK_ALLOW_OUTBOUND).",))  # fmt: skip
PBX_DENIES: Final = Cause(
    call_pb2.REFUSAL_CAUSE_PBX_DENIES, "pbx-unreachable", "",
    "The PBX does not take our registration.",
    ("Compare user and password with the PBX's: ",
     _CHANGE.giving("--pbx-user USER --pbx-password-file FILE", "options.pbx.username and pbx_password"),
     "."))  # fmt: skip
PBX_NAME_UNKNOWN: Final = Cause(
    call_pb2.REFUSAL_CAUSE_PBX_NAME_UNKNOWN, "pbx-unreachable", "",
    "The PBX's name leads to no address.",
    ("Correct the name: ", _CHANGE.giving("--pbx HOST:PORT", "options.pbx.address"),
     "; or see to the Worker's name servers (TELETRUNK_DNS_SERVERS)."))  # fmt: skip
PBX_SILENT: Final = Cause(
    call_pb2.REFUSAL_CAUSE_PBX_SILENT, "pbx-unreachable", "",
    "The PBX does not answer there.",
    ("See that the PBX runs at that address and port, and lets SIP from the Worker in: ",
     _CHANGE.giving("--pbx HOST:PORT --pbx-transport udp|tcp|tls", "options.pbx"), "."))  # fmt: skip

CAUSES: Final = (
    SRTP_KEYS_READABLE, SRTP_NOT_OFFERED, SRTP_NOT_ANSWERED, SRTP_OFF, RTP_PROFILE, SOUND_OVER_IPV6,
    TRANSPORT_NOT_ALLOWED, ADDRESS_BANNED, LOGIN_RESTS, MD5_NOT_ALLOWED, TRUNK_OFF, ASSIGNED_ELSEWHERE,
    TRUNK_DOES_NOT_REGISTER, NO_MORE_REGISTRATIONS, NO_MORE_CALLS, TOO_MANY_AT_ONCE, NO_SOUND, NO_WORKER_REACHES_OUT,
    PBX_DENIES, PBX_NAME_UNKNOWN, PBX_SILENT,
)  # fmt: skip
_BY_CODE: Final = {cause.code: cause for cause in CAUSES}


def of_row(row_id: str) -> list[Cause]:
    return [cause for cause in CAUSES if cause.row == row_id]


def known(row_id: str, code: call_pb2.RefusalCause.ValueType) -> call_pb2.RefusalCause.ValueType:
    """The cause as a service has sent it; none where it is not the row's, or is of a later version."""
    cause = _BY_CODE.get(code)
    return code if cause is not None and cause.row == row_id else call_pb2.REFUSAL_CAUSE_UNSPECIFIED


def told(row_id: str, code: call_pb2.RefusalCause.ValueType, **fields: str) -> Row:
    """The row in the words of its cause, with what is known of whom it is about: `trunk`, `address` and the like."""
    row, cause = TABLE[row_id], _BY_CODE.get(known(row_id, code))
    row = row if cause is None else replace(row, essence=cause.essence, advice=cause.advice)
    return replace(row, advice=filled_in(row.advice, fields)) if fields else row


def in_words(row_id: str, text: str) -> Row:
    """The row in the words of the cause that somebody's text says."""
    cause = next((cause for cause in of_row(row_id) if cause.is_said_in(text)), None)
    return told(row_id, cause.code if cause else call_pb2.REFUSAL_CAUSE_UNSPECIFIED)
