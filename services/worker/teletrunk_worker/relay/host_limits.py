"""What a SIP host can take.

pjsua cuts a longer packet and aborts at it, and at addresses that are none; a request with a header that pjsip cannot
read it drops without a word. So a host gets only the headers that it has a use for, in a form that it can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from teletrunk import causes
from teletrunk.errors import Refusal

from teletrunk_worker.relay import codecs as codecs_of
from teletrunk_worker.relay import sound_addresses, srtp
from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.body import DESCRIPTION, described_by, media_type, set_body
from teletrunk_worker.sip.message import Message, Request, Response
from teletrunk_worker.sip.scanner import IN_TOKENS, Malformed
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.uas import accepted, is_digits, respond
from teletrunk_worker.sip.uri import NameAddr, escaped

LARGEST_MESSAGE: Final = 4_000  # PJSIP_MAX_PKT_LEN of the stock wheel
LONGEST_LEG_HEADER: Final = 40
# What a dialog needs (RFC 3261 12, RFC 3262, RFC 4028). A wish to replace or join another is none of it.
_NEEDED = frozenset(
    {"via", "record-route", "from", "to", "call-id", "cseq", "contact", "content-type", "content-length", "require",
     "supported", "allow", "session-expires", "min-se", "rseq", "rack", "reason", "max-forwards", "x-teletrunk-call",
     "www-authenticate", "proxy-authenticate"}
)  # fmt: skip
_LONGEST_PHRASE = 100
TARGET_REFRESH = frozenset({"INVITE", "UPDATE"})  # RFC 3261 12.2, RFC 3311
WITH_OFFER = TARGET_REFRESH | {"PRACK"}  # RFC 3262 5: of a peer; no host says anything there
_PROFILES = frozenset({"RTP/AVP", "RTP/AVPF"})
_ANSWERED_PROFILES = _PROFILES | {"RTP/SAVP", "RTP/SAVPF"}
_TOKENS = re.compile(rf"{IN_TOKENS}{{1,60}}(?:\s*,\s*{IN_TOKENS}{{1,60}}){{0,60}}")
WITH_BODY: Final = frozenset({"INVITE", "ACK", "UPDATE", "PRACK", "INFO"})  # of other requests a host wants none
_SIP: Final = frozenset({"sip", "sips"})
_REFRESHER = re.compile(r"(?i);\s*+refresher\s*+=\s*+(ua[cs])\s*+(?:;|$)")
_RACK = re.compile(r"[0-9]{1,10}\s+[0-9]{1,10}\s+[A-Z]{1,20}")


@dataclass(frozen=True)
class Objection:
    """Why a host cannot take a message, as SIP says it."""

    status: int
    phrase: str
    headers: tuple[tuple[str, str], ...] = field(default=())
    refusal: Refusal | None = None  # the row that it is, if it is one

    def answer(self, request: Request) -> Response:
        return respond(request, self.status, self.phrase, self.headers)


def objection_to(message: Message, source: str, own: Collection[str]) -> Objection | None:
    """For a message as it would be sent; `source` has signalled it, `own` are the addresses that we are known by."""
    if not is_short_enough(message):
        return objection_of(Refusal("message-too-large"))
    if isinstance(message, Response) and message.flaw and _agrees(message):
        return objection_of(Refusal("bad-request", message.flaw))
    if isinstance(message, Request) and message.body and not _is_for_host(message):
        return Objection(415, "Unsupported Media Type", tuple(accepted(message, DESCRIPTION)))
    if why := sdp.objection(message.body) or sound_addresses.objection(message.body, source, own):
        said = why.replace("\\", "?").replace('"', "'")
        return Objection(488, "Not Acceptable Here", (("Warning", f'399 teletrunk "{said}"'),))
    return None


def _agrees(answer: Response) -> bool:
    """Whether it says what the sound is from now on."""
    return answer.cseq.method in TARGET_REFRESH and 200 <= answer.code < 300


def objection_to_answer(
    response: Response, sound: SoundTerms, source: str, own: Collection[str], *, first: bool
) -> Objection | None:
    """Of a peer, to a host's offer. `first`: to the one that makes the call, which without sound is none; later, what
    cannot be agreed on leaves it as it is (RFC 3261 14.1)."""
    described = described_by(response)
    sounds = sdp.sounds(described)
    if refusal := srtp.objection_to_answer(response.body, sound) or _refusal_of_form(sounds, _is_way_of_ours):
        return objection_of(refusal)
    if found := objection_to(response, source, own):
        why = "".join(value for name, value in found.headers if name == "Warning").partition('"')[2].rstrip('"')
        return found if found.refusal else replace(found, refusal=Refusal("bad-request", why))
    if not first:
        return None
    refusal = codecs_of.refusal_of_answer(described, sound) or _refusal_of_form(sounds, _is_usable)
    return None if refusal is None else objection_of(refusal)


def leave_what_was_offered(answer: Message, offer: Message | None) -> None:
    """`offer` is the host's that a peer answers, if it has one."""
    if offer is not None:
        _describe(answer, lambda body: srtp.with_offered_keys(sdp.in_its_places(body, offer.body), offer.body))


def has_no_answer(message: Message, sound: SoundTerms) -> Refusal | None:
    """Why a peer's description answers no offer of ours."""
    described = described_by(message)
    return (
        srtp.objection_to_answer(described, sound)
        or _refusal_of_form(sdp.sounds(described), _is_way_of_ours)
        or codecs_of.refusal_of_answer(described, sound)
    )


def _is_way_of_ours(answered: sdp.Sound) -> bool:
    """Keys, or that there are none, are another matter: the host gets the profile that it has offered."""
    return answered.ip_version == 4 and answered.profile.partition(" ")[0] in _ANSWERED_PROFILES


def decline(message: Message) -> None:
    """Says to a host's offer that there is to be no sound."""
    nothing = b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"
    set_body(message, nothing, DESCRIPTION)


def objection_of(refusal: Refusal) -> Objection:
    return Objection(refusal.row.sip_status, refusal.phrase, tuple(refusal.sip_headers()), refusal)


def objection_to_offer(request: Request) -> Objection | None:
    """For an offer in which no sound is such that a host could take it, whatever the trunk."""
    offered = sdp.sounds(request.body) if request.method in WITH_OFFER else []
    refusal = _refusal_of_form(offered, _is_usable)
    return None if refusal is None else objection_of(refusal)


def _refusal_of_form(described: list[sdp.Sound], can_be: Callable[[sdp.Sound], bool]) -> Refusal | None:
    """The row of sound of which none is in a form that a host has; pjsua would take such an answer, say that the call
    is up, and neither send nor hear anything."""
    if not described or any(map(can_be, described)):
        return None
    if all(sound.ip_version != 4 for sound in described):  # the hosts' library is built without
        return causes.SOUND_OVER_IPV6.refusal()
    return causes.RTP_PROFILE.refusal(", ".join(dict.fromkeys(sound.profile for sound in described)))


def usable(offered: list[sdp.Sound]) -> list[sdp.Sound]:
    return [sound for sound in offered if _is_usable(sound)]


def _is_usable(sound: sdp.Sound) -> bool:
    return sound.ip_version == 4 and (sound.keyed or sound.profile in _PROFILES)


def offered_codecs(request: Request) -> tuple[str, ...] | None:
    """Of a request that offers sound which a host could take; None of one that leaves the offer to us."""
    offered = usable(sdp.sounds(request.body)) if request.method in WITH_OFFER else []
    return tuple(codec for sound in offered for codec in sound.codecs) if offered else None


def offered_srtp(request: Request) -> frozenset[bool]:
    """Whether sound that a host could take is offered with SRTP, without, or both."""
    return frozenset(sound.keyed for sound in usable(sdp.sounds(request.body)))


def offer_for_host(request: Request, sound: SoundTerms) -> None:
    """Leaves in a peer's offer one sound of what the trunk has, in its order.

    pjsua opens sockets for each sound that it is offered, and stops when it can have no more.
    """

    def change(body: bytes) -> bytes:
        allowed = srtp.for_host(codecs_of.restrict(sdp.needed(body), sound), sound)
        return sdp.with_one_sound(
            allowed, lambda one: _is_usable(one) and not codecs_of.lacks(one.codecs, sound.codecs)
        )

    _rewrite(request, change, sound)


def answer_for_host(message: Message, sound: SoundTerms) -> None:
    """Leaves in a peer's answer what the trunk has."""
    _rewrite(
        message, lambda body: srtp.answer_for_host(codecs_of.restrict_answer(sdp.needed(body), sound), sound), sound
    )


def offer_for_peer(message: Message, sound: SoundTerms) -> None:
    """Leaves in a host's offer what the trunk has, in its order."""
    _rewrite(message, lambda body: srtp.for_peer(codecs_of.restrict(body, sound), sound), sound)


def answer_for_peer(message: Message, sound: SoundTerms) -> None:
    _rewrite(message, lambda body: srtp.for_peer(body, sound), sound)


def sound_at(message: Message, address: str) -> None:
    """A host's description, for a peer that reaches this machine at another address than hosts name."""
    _describe(message, lambda body: sdp.at_address(body, address))


def _rewrite(message: Message, change: Callable[[bytes], bytes], sound: SoundTerms) -> None:
    """Packets are to be as long as the trunk says, whoever sends them."""

    def changed(body: bytes) -> bytes:
        body = change(body)
        return codecs_of.with_ptime(body, sound.ptime_ms) if sound.ptime_ms else codecs_of.with_short_ptime(body)

    _describe(message, changed)


def _describe(message: Message, change: Callable[[bytes], bytes]) -> None:
    if body := described_by(message):
        set_body(message, change(body))


def _is_for_host(request: Request) -> bool:
    return is_digits(request) if request.method == "INFO" else media_type(request.headers) == DESCRIPTION


def simplify(request: Request) -> None:
    """Leaves what the host needs, as it can read it. Raises `Malformed` for what it needs and nobody can read."""
    _keep_needed(request)
    if request.uri.scheme not in _SIP:  # pjsip has no answer to a tel: address
        request.target = f"sip:{escaped(request.uri.user)}@127.0.0.1"
    headers = request.headers
    headers.set("CSeq", str(request.cseq))
    for name in ("Supported", "Allow"):
        headers.setlist(name, [value for value in headers.getlist(name) if _TOKENS.fullmatch(value)])
    for name, form in (("Require", _TOKENS), ("RAck", _RACK)):
        if any(not form.fullmatch(value) for value in headers.getlist(name)):
            raise Malformed(f"{name} cannot be read")
    if request.body:
        headers.set("Content-Type", media_type(request.headers))
    else:
        strip_body(request)
    _time_plainly(request)
    if contacts := request.contacts:
        headers.set("Contact", _plain(contacts[0]))


def _time_plainly(message: Message) -> None:
    for name in ("Session-Expires", "Min-SE"):
        if (seconds := message.number(name)) is not None:
            message.headers.set(name, str(seconds) + _refresher(message.headers[name]))


def _refresher(value: str) -> str:
    found = _REFRESHER.search(value)
    return f";refresher={found[1].lower()}" if found else ""


def _plain(contact: NameAddr) -> str:
    """Without parameters of its own, which only a registrar reads, and headers, which pjsip would write into what it
    says to that address: a Route, or our own."""
    if contact.uri.scheme not in _SIP:
        raise Malformed("Contact is no SIP address")
    return f"<{contact.uri.target}>"


def _keep_needed(message: Message) -> None:
    message.headers.remove(*{name for name, _ in message.headers if name.lower() not in _NEEDED})


def fit(response: Response) -> None:
    """Leaves what the host needs. A provisional answer brings no sound: its description stays here."""
    is_description = bool(described_by(response))
    _keep_needed(response)
    _time_plainly(response)
    response.phrase = response.phrase[:_LONGEST_PHRASE]
    if is_description and 200 <= response.code < 300:
        response.headers.set("Content-Type", DESCRIPTION)
    else:
        strip_body(response)
    if response.code >= 300:
        response.headers.remove("Contact")  # a host that must not follow it would say 487 in place of what was said
    if not is_short_enough(response):
        response.headers.remove("Reason", "Supported", "Allow")


def target_in(response: Response) -> str:
    """Where its sender is from now on, as a host could write it; empty when it says nothing of the kind."""
    contacts = response.contacts
    return contacts[0].uri.target if contacts and contacts[0].uri.scheme in _SIP else ""


def is_short_enough(message: Message) -> bool:
    """Also as pjsip writes it: what it says in a dialog has the dialog's addresses, with `%23` for each `#`."""
    data = bytes(message)
    return len(data) + 2 * data.count(b"#") <= LARGEST_MESSAGE


def strip_body(message: Message) -> None:
    message.body = b""
    message.headers.remove("Content-Type", "Content-Encoding", "Content-Disposition")
    message.headers.set("Content-Length", "0")


def turn_into(response: Response, status: int, phrase: str) -> None:
    """Makes a refusal of an answer: what the dialog is known by stays."""
    response.code, response.phrase = status, phrase
    response.headers.remove("Contact", "Record-Route", "Require")
    strip_body(response)
