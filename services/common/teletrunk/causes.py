"""The causes of a row that has several: each is told by what follows the phrase, and has words of its own.

`docs/errors.md`, `teletrunk explain` and the doctor take them from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from teletrunk.errors import TABLE, Row


@dataclass(frozen=True)
class Cause:
    """`sign`: a regular expression for what is said after the phrase, in small letters."""

    row: str
    sign: str
    essence: str
    remedy: str


CAUSES: Final = (
    Cause("no-common-codec", r"whose keys can be read over",
          "The trunk requires SRTP, whose keys stand in the signalling, which is not encrypted.",
          "Let the PBX come by TLS (teletrunk trunk show LOGIN says where), or do without that: teletrunk trunk change "
          "LOGIN --srtp required-insecure."),
    Cause("no-common-codec", r"this trunk requires srtp",
          "The trunk requires SRTP, and the PBX sends its sound in clear.",
          "Switch on SRTP with SDES in the PBX, or let the trunk do without: teletrunk trunk change LOGIN --srtp "
          "optional."),
    Cause("no-common-codec", r"this trunk has it off",
          "The PBX wants SRTP, which the trunk has off.",
          "Allow it in the trunk: teletrunk trunk change LOGIN --srtp optional; or switch it off in the PBX."),
    Cause("no-common-codec", r"the gateway has rtp/avp and rtp/savp",
          "The PBX wants SRTP with keys by DTLS, as WebRTC has it.",
          "Set the PBX to SRTP with SDES, or to none, on this trunk (Asterisk: media_encryption=sdes, webrtc=no)."),
    Cause("no-common-codec", r"sound over ipv6",
          "The PBX wants its sound over IPv6, which the gateway does not have.",
          "Let the PBX offer an IPv4 address for its sound."),
    Cause("ip-not-allowed", r"is not a transport of this trunk",
          "The password is right, but the PBX comes by a transport that the trunk does not allow.",
          "Set the PBX to a transport that the phrase names, or allow this one: teletrunk trunk change LOGIN "
          "--transports."),
    Cause("ip-not-allowed", r"after too many failures",
          "The address is turned away for a while: it came too often with wrong passwords or logins.",
          "Correct the login and password in the PBX there first, then: teletrunk ban lift ADDRESS."),
    Cause("ip-not-allowed", r"too many wrong passwords for this login",
          "The login rests for a while: it was tried too often with wrong passwords, by whomever.",
          "Correct the password in whatever PBX or phone tries it. If it is strangers who guess, let the trunk be used "
          "from your PBX only: teletrunk trunk trust LOGIN ADDRESS."),
    Cause("unauthorized", r"needs sha-256",
          "The trunk lets nobody in with MD5, and the PBX knows nothing better.",
          "Switch on SHA-256 (RFC 8760) in the PBX, or allow MD5: teletrunk trunk change LOGIN --md5."),
    Cause("session-access-revoked", r"switched off",
          "The trunk is switched off.",
          "Switch it on: teletrunk trunk change LOGIN --on."),
    Cause("session-access-revoked", r"assigned to another worker",
          "The account is assigned to other Workers than this one.",
          "Let the PBX use a Worker that has the account, or assign this one, too: teletrunk worker assign ACCOUNT "
          "WORKER..."),
    Cause("registration-type-not-allowed", r"does not register here",
          "The trunk is of a kind whose PBX does not register here.",
          "Let the PBX call without registering, or change the kind: teletrunk trunk change LOGIN --kind registers."),
    *(Cause(row, r"takes no more calls",
            "The Worker is being drained: it takes no more calls and registrations.",
            "Use another Worker, or let this one take up work again: teletrunk worker drain WORKER --off.")
      for row in ("worker-off", "worker-restarting")),
    Cause("pbx-unreachable", r"no sound from it",
          "The PBX has sent no sound in a call that was up.",
          "See that the PBX is there, and that no firewall between it and the Worker forgets the way of its sound."),
    Cause("pbx-unreachable", r"no worker reaches out",
          "The PBX does not register here, and no Worker reaches out to it.",
          "Attach a Worker that may (TELETRUNK_ALLOW_OUTBOUND)."),
    Cause("pbx-unreachable", r"its pbx at \S+: (401|403|404|407) ",
          "The PBX does not take our registration.",
          "Compare user and password with the PBX's: teletrunk trunk change LOGIN --pbx-user USER --pbx-password-file "
          "FILE."),
    Cause("pbx-unreachable", r"its pbx at \S+: .*(no address|name server|not known|does not exist|no such name)",
          "The PBX's name leads to no address.",
          "Correct the name: teletrunk trunk change LOGIN --pbx HOST:PORT; or see to the Worker's name servers "
          "(TELETRUNK_DNS_SERVERS)."),
    Cause("pbx-unreachable", r"its pbx at \S+: ",
          "The PBX does not answer there.",
          "See that the PBX runs at that address and port, and lets SIP from the Worker in: teletrunk trunk change "
          "LOGIN --pbx HOST:PORT --pbx-transport udp, tcp or tls."),
)  # fmt: skip


def of_row(row_id: str) -> list[Cause]:
    return [cause for cause in CAUSES if cause.row == row_id]


def told(row_id: str, said: str) -> Row:
    """The row in the words that fit what was said beyond its phrase."""
    row, text = TABLE[row_id], said.lower()
    cause = next((cause for cause in of_row(row_id) if re.search(cause.sign, text)), None)
    return row if cause is None else replace(row, essence=cause.essence, advice=cause.remedy)
