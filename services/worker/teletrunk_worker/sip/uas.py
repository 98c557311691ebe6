"""A user agent server (RFC 3261 8.2): what must be there in a message, and what we answer by ourselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from teletrunk_worker.sip.body import DESCRIPTION, DIGITS, HOOK_FLASH, cut_to_length, is_encoded, media_type
from teletrunk_worker.sip.message import NUMBERS, VERSION, Request, Response
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.uri import is_too_long
from teletrunk_worker.sip.via import parse_via

SERVER: Final = "Teletrunk"
ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK"
ALLOW_IN_CALL: Final = f"{ALLOW}, REFER"
_SPOKEN = frozenset(ALLOW_IN_CALL.split(", "))
_KNOWN = _SPOKEN | {"SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH"}  # the rest is answered 405
_SCHEMES = frozenset({"sip", "sips", "tel"})
# What may be required of us: in a call, what a host understands, or is done in its place.
_EXTENSIONS = frozenset({"100rel", "timer", "norefersub"})
_AT_REGISTRAR = _EXTENSIONS | {"path", "outbound"}
IN_DIALOG: Final = frozenset({"INVITE", "ACK", "BYE", "INFO", "UPDATE", "PRACK", "OPTIONS", "REFER"})
_ONLY_IN_DIALOG: Final = frozenset({"BYE", "INFO", "UPDATE", "PRACK"})  # spoken, and nothing outside of one


def check(request: Request) -> None:
    """What must be there and make sense before anything is decided. Raises `Malformed`, `TooLarge`.

    A body that is longer than its Content-Length says is cut (RFC 3261 18.3). Answers are read by `answers.tidy`.
    """
    if request.flaw:
        raise Malformed(request.flaw)
    for entry in request.vias:  # all of them: a host reads them, too
        parse_via(entry)
    _ = request.via, request.cseq, request.call_id, request.from_, request.to
    for name in (*NUMBERS, "Content-Length"):
        request.number(name)
    for name in ("Contact", "Route", "Record-Route", "Path"):
        if name != "Contact" or not _is_star(request):
            request.addresses(name)
    _ = request.uri
    if request.cseq.method != request.method:
        raise Malformed("CSeq names another method")
    # SIP allows it within quotes; what is written in C ends there, and goes on with something else.
    if any("\0" in value for _, value in request.headers) and request.method in _KNOWN:
        raise Malformed("a header has a NUL")
    cut_to_length(request)


def _is_star(request: Request) -> bool:
    """A `*` is for REGISTER alone (RFC 3261 10.2.2)."""
    return request.method == "REGISTER" and request.headers.get("Contact") == "*"


def respond(request: Request, code: int, phrase: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A response of our own (RFC 3261 8.2.6); the To tag is the same for every answer to one request."""
    response = Response(code, phrase)
    response.headers.setlist("Via", request.headers.getlist("Via"))
    for name in ("From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, request.headers.getlist(name)[:1])
    if code == 100:
        response.headers.setlist("Timestamp", request.headers.getlist("Timestamp")[:1])
    elif request.headers.get("To") and not _has_tag(request):
        seed = "".join(value for name in ("Call-ID", "Via") for value in request.headers.getlist(name)[:1])
        tag = hashlib.sha256(seed.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        response.headers.set("To", f"{response.headers['To']};tag={tag}")
    for name, value in headers:
        response.headers.add(name, value)
    response.headers.set("Server", SERVER)
    response.headers.set("Content-Length", "0")
    return response


def _has_tag(request: Request) -> bool:
    try:
        return bool(request.to.tag)
    except Malformed:
        return ";tag=" in (request.headers.get("To") or "").lower()


def objection(request: Request) -> Response | None:
    """The refusal of what is SIP, but none that we speak (RFC 3261 8.2.2, 16.3); None when it is not that."""
    if request.version != VERSION:
        return respond(request, 505, "Version Not Supported")
    if request.uri.scheme not in _SCHEMES:
        return respond(request, 416, "Unsupported URI Scheme")
    if request.method not in _KNOWN:
        return respond(request, 501, "Not Implemented", [_allow(request)])
    wanted = [tag for name in ("Require", "Proxy-Require") for tag in request.entries(name)]
    if not all(wanted):
        raise Malformed("Require has an empty entry")
    known = _AT_REGISTRAR if request.method == "REGISTER" else _EXTENSIONS
    unknown = [tag for tag in wanted if tag.lower() not in known]
    if unknown and request.method not in ("ACK", "CANCEL"):
        return respond(request, 420, "Bad Extension", [("Unsupported", ", ".join(unknown))])
    if request.method not in _SPOKEN:
        return not_allowed(request)
    return None


def not_allowed(request: Request) -> Response:
    return respond(request, 405, "Method Not Allowed", [_allow(request)])


def _allow(request: Request) -> tuple[str, str]:
    return "Allow", ALLOW_IN_CALL if request.to.tag else ALLOW


def options(request: Request) -> Response:
    """RFC 3261 11.2."""
    supported = ("Supported", "timer, 100rel, path, outbound, norefersub")
    return respond(request, 200, "OK", [_allow(request), ("Accept", DESCRIPTION), supported])


def is_of_dialog(request: Request) -> bool:
    """Whether it can only belong to a dialog that there is."""
    return bool(request.to.tag) or request.method in _ONLY_IN_DIALOG


def no_such_dialog(request: Request) -> Response:
    return respond(request, 481, "Call/Transaction Does Not Exist")


def can_be_answered(request: Request) -> bool:
    """Whether the sender could tell what an answer belongs to; an ACK is never answered."""
    return request.method != "ACK" and bool(request.headers.get("Via")) and bool(request.headers.get("CSeq"))


def unreadable(request: Request) -> Response | None:
    """The answer to a request that cannot be read for a reason which has a status of its own; None for 400."""
    if request.version != VERSION:
        return respond(request, 505, "Version Not Supported")
    if is_too_long(request.target):
        return respond(request, 414, "Request-URI Too Long")
    return None


def is_digits(info: Request) -> bool:
    """Whether an INFO carries a DTMF digit, as PBXs send them."""
    return media_type(info.headers) in DIGITS


def answer_in_dialog(request: Request) -> Response | None:
    """What is answered at once within a dialog, since a media host would only refuse it; None for what is its own."""
    if (refusal := objection(request)) is not None:
        return None if request.method == "ACK" else refusal
    if request.method not in IN_DIALOG:
        return not_allowed(request)
    if request.method == "OPTIONS":
        return options(request)
    if request.method == "INFO" and not request.body and media_type(request.headers) != HOOK_FLASH:
        return respond(request, 200, "OK")
    if request.method == "INFO" and not is_digits(request):
        return respond(request, 415, "Unsupported Media Type", accepted(request, ", ".join(sorted(DIGITS))))
    return None


def accepted(request: Request, types: str) -> list[tuple[str, str]]:
    """What its body would have to be (RFC 3261 8.2.3)."""
    return [("Accept", types), *([("Accept-Encoding", "identity")] if is_encoded(request.headers) else [])]


def shortened(answer: Response) -> Response:
    """The same answer in as few bytes as it can be said: without explanations, and with the challenge that all know."""
    short = Response(answer.code, answer.phrase, headers=answer.headers.copy())
    short.headers.remove("Reason", "Warning", "Supported", "Server")
    short.headers.setlist("WWW-Authenticate", short.headers.getlist("WWW-Authenticate")[-1:])
    return short
