"""What PBXs print when a call or a registration fails, and which rows of ours are behind it.

`teletrunk explain` knows these too: people paste what Asterisk, FreePBX, FreeSWITCH or a phone has shown them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from teletrunk.errors import TABLE, Row
from teletrunk.remedies import CHANGE_TRUNK, GET_TRUNK, Part, command_line, filled_in


@dataclass(frozen=True)
class Saying:
    """Words of a PBX or an answer that is not a row of ours; `rows` may be behind it."""

    words: str  # as people see them
    means: str
    remedy: str
    pattern: str = ""  # a regular expression for lower-case text; empty: the words themselves
    rows: tuple[str, ...] = ()

    def fits(self, text: str) -> bool:
        return re.search(self.pattern or re.escape(self.words.lower()), text) is not None


SAYINGS: Final = (
    Saying("486 Busy Here", "The called side is busy, or has declined the call; Teletrunk only passes it on.",
           "Nothing is wrong with the gateway: call again later.", r"\b486\b|busy here|user[_ ]busy|dialstatus.*busy"),
    Saying("603 Decline", "The called side has declined the call.", "Nothing is wrong with the gateway.",
           r"\b603\b|\bdeclined?\b|call_rejected"),
    Saying("487 Request Terminated", "The caller hung up before anybody answered.", "Nothing is wrong.",
           r"\b487\b|request terminated|originator_cancel"),
    Saying("480 Temporarily Unavailable", "The called Telegram user did not answer, or has no device at hand; on a "
           "call from Telegram, the PBX's extension is not there.",
           "Call again later; for calls from Telegram see that the extension behind the trunk is registered.",
           r"\b480\b|temporarily unavailable|no[_ ]answer|no_user_response", ("pbx-unreachable",)),
    Saying("488 Not Acceptable Here", "The PBX and the trunk have no codec in common, or disagree about SRTP.",
           "Compare the PBX's codecs with `teletrunk trunk show LOGIN`; PCMA or PCMU on both sides always works.",
           r"\b488\b|not acceptable here|no compatible codecs|incompatible_destination|not compatible",
           ("no-common-codec",)),
    Saying("Asterisk: No response received from '...' on registration attempt",
           "The PBX's REGISTER reaches nobody, or the answer does not come back.",
           "Compare server and port in the PBX with `teletrunk trunk show LOGIN`; let UDP and TCP through; "
           "`teletrunk ban list` shows whether the PBX is turned away.",
           r"no response received|registration.*timed? ?out|not responding|\btimeout, (?:no|retransmission)"),
    Saying("Asterisk: Endpoint ... is now Unreachable", "Teletrunk does not answer the PBX's OPTIONS.",
           "See that a Worker runs (`teletrunk status`) and that the PBX's address is not banned.",
           r"is (?:now )?unreachable|contact .* unavail|gateway .* (?:down|ping)"),
    Saying("Asterisk: Fatal response '403' received ... stopping registration",
           "Teletrunk refused the registration for good; Asterisk does not try again by itself.",
           "Mend what the row says, then `pjsip send register TRUNK` (or set forbidden_retry_interval).",
           r"fatal response|stopping (?:outbound )?registration",
           ("wrong-password", "ip-not-allowed", "account-inactive", "registration-type-not-allowed")),
    Saying("Asterisk: No matching endpoint found", "The PBX does not know who calls it: a call from Telegram came "
           "from the Worker's address, and no endpoint of the PBX matches it.",
           "In Asterisk add an identify section with the Worker's address (match=), in FreePBX set Match (Permit).",
           r"no matching endpoint|failed to authenticate|not found in (?:endpoint|acl)"),
    Saying("FreePBX: All circuits are busy now", "Every route of the PBX failed; the trunk's own answer stands "
           "above it in the PBX's log.", "See its SIP answer and explain that; or `teletrunk explain --call last`.",
           r"all circuits are busy|everyone is busy/congested|\bcongestion\b|chanunavail|is circuit-busy",
           ("not-registered", "worker-restarting", "session-disconnected")),
    Saying("FreePBX: Rejected", "The registration was refused.",
           "Compare login and password with the trunk's: teletrunk trunk reset-password LOGIN makes a new one.",
           r"^(?:trunk )?rejected\b|auth(?:entication)? (?:rejected|failed|error)|no[_ ]auth|fail_wait",
           ("wrong-password", "login-not-found")),
    Saying("FreePBX: Unregistered", "The PBX has not registered yet, or gave up.",
           "Let it register, then see `teletrunk trunk show LOGIN`: refused registrations stand there.",
           r"^unregistered\b|not registered$", ("not-registered",)),
)  # fmt: skip
# The phrases of RFC 3261 that PBXs print in place of ours; most are HTTP's.
_STANDARD: Final = {status.phrase.lower() for status in HTTPStatus} | {
    "server internal error", "server time-out", "temporarily unavailable", "not acceptable here", "busy here",
    "request-uri too long", "version not supported", "message too large", "loop detected", "bad event",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a PBX answers to a call from Telegram that it does not take. `usual`: nothing is wrong with the trunk."""

    codes: tuple[int, ...]  # empty: any other
    means: str
    advice: Sequence[Part]
    usual: bool = False

    @property
    def remedy(self) -> str:
        """What to do, for a person at the command line."""
        return command_line(self.advice)


ANSWERS: Final = (
    Answer((404, 410, 484, 604), "At the PBX there is no such extension or number where the trunk's calls arrive.",
           ("See that the PBX has what it is rung at, in the trunk's context (in FreePBX: an inbound route), or ring "
            "another: ", CHANGE_TRUNK.of(trunk="LOGIN").giving("--number-on-pbx NUMBER", "options.number_on_pbx"),
            ".")),
    Answer((488, 606, 406, 415), "The PBX takes none of the trunk's codecs, or disagrees about SRTP.",
           ("Compare the PBX's codecs and encryption with what ", GET_TRUNK.of(trunk="LOGIN"),
            " shows; PCMA or PCMU on both sides, without SRTP, always works.")),
    Answer((401, 403, 407), "The PBX does not let the trunk's calls in.",
           "Let it know calls from the Worker's address by that address (Asterisk: identify, FreePBX: Match (Permit)); "
           "for an outbound trunk compare --pbx-user and --pbx-password-file with the PBX's."),
    Answer((486, 600), "The extension at the PBX is busy.", "Nothing is wrong with the trunk: call again later.",
           usual=True),
    Answer((603,), "Somebody at the PBX has declined the call.", "Nothing is wrong with the trunk.", usual=True),
    Answer((480, 408, 487), "Nobody at the PBX answered, or the extension is not there at the moment.",
           "Call again later; if it stays so, see that the extension behind the trunk is registered at the PBX.",
           usual=True),
    Answer((500, 501, 502, 503, 504), "The PBX could not put the call through, for a trouble of its own.",
           "Look at the PBX's log at the time of the call."),
    Answer((), "The PBX did not take the call; the code and the words are its own.",
           "Look at the PBX's log at the time of the call."),
)  # fmt: skip


def answer_of(code: int, known: Mapping[str, str]) -> Answer:
    """What the PBX meant by it; the advice names what is known."""
    answer = next(answer for answer in ANSWERS if code in answer.codes or not answer.codes)
    return replace(answer, advice=filled_in(answer.advice, known))


_CODE = re.compile(r"(?:^|[\s'\"(:=])([3-6]\d\d)(?![\w.:-])")


def sayings(text: str) -> list[Saying]:
    """`text` is lower-case, with single spaces."""
    return [saying for saying in SAYINGS if saying.fits(text)]


def rows_of_code(text: str) -> list[Row]:
    """The rows of a SIP code that stands anywhere in a line, when what is beside it says no more than the code."""
    code = _CODE.search(text)
    if code is None:
        return []
    return [row for row in TABLE.values() if row.sip_status == int(code[1])]


def is_standard(phrase: str) -> bool:
    return phrase.strip(" .'\"") in _STANDARD
