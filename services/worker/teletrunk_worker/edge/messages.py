"""What the edge does to SIP messages: the few operations of a proxy and of a server that answers for itself."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Iterable, Sequence

from teletrunk.errors import Refusal

from teletrunk_worker.sip.message import VERSION, Message, Request, Response
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.uri import NameAddr
from teletrunk_worker.sip.via import Via, parse_via

SERVER = "Teletrunk"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK"
METHODS = frozenset(
    {
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "REGISTER",
        "INFO",
        "UPDATE",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "PUBLISH",
    }
)  # fmt: skip  those of the second line are known, and answered 405
_SCHEMES = frozenset({"sip", "sips", "tel"})
_EXTENSIONS = frozenset({"100rel", "timer"})  # what a host understands when it is required
# What is relayed in a dialog.
IN_DIALOG = frozenset({"INVITE", "ACK", "BYE", "INFO", "UPDATE", "PRACK", "OPTIONS"})
_MOST_HOPS = 255  # RFC 3261 20.22
# Headers that are one number: what cannot be read there is the sender's mistake, and no host's to stumble over.
_NUMBERS = ("Max-Forwards", "Expires", "Session-Expires", "Min-SE", "Content-Length", "RSeq")


def check(message: Message) -> None:
    """What must be there and make sense before anything is decided. Raises `Malformed`.

    A body that is longer than its Content-Length says is cut (RFC 3261 18.3).
    """
    for entry in message.vias:  # all of them: a host reads them, too
        parse_via(entry)
    _ = message.via, message.cseq, message.call_id, message.from_, message.to
    for name in _NUMBERS:
        try:
            message.number(name)
        except Malformed:
            if isinstance(message, Request) or name == "Content-Length":
                raise
            message.headers.remove(name)  # an answer counts whatever else it says
    for name in ("Contact", "Route", "Record-Route"):
        if message.headers.get(name) != "*":
            message.addresses(name)
    if isinstance(message, Request):
        _ = message.uri
        if message.cseq.method != message.method:
            raise Malformed("CSeq names another method")
    # SIP allows it within quotes; what is written in C ends there, and goes on with something else.
    if any("\0" in value for _, value in message.headers) and getattr(message, "method", "INVITE") in METHODS:
        raise Malformed("a header has a NUL")
    if (length := message.number("Content-Length")) is not None:
        if length > len(message.body):
            raise Malformed("Content-Length is more than there is")
        message.body = message.body[:length]


def respond(request: Request, code: int, phrase: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A response of our own (RFC 3261 8.2.6); the To tag is the same for every answer to one request."""
    response = Response(code, phrase)
    response.headers.setlist("Via", request.headers.getlist("Via"))
    for name in ("From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, request.headers.getlist(name)[:1])
    if code > 100 and request.headers.get("To") and not _has_tag(request):
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


def not_understood(request: Request) -> Response | None:
    """The refusal of what is SIP, but none that we speak (RFC 3261 8.2.2, 16.3); None when it is not that."""
    if request.version != VERSION:
        return respond(request, 505, "Version Not Supported")
    if request.uri.scheme not in _SCHEMES:
        return respond(request, 416, "Unsupported URI Scheme")
    if request.method not in METHODS:
        return respond(request, 501, "Not Implemented", [("Allow", ALLOW)])
    wanted = [tag for name in ("Require", "Proxy-Require") for tag in request.entries(name)]
    if not all(wanted):
        raise Malformed("Require has an empty entry")
    unknown = [tag for tag in wanted if tag.lower() not in _EXTENSIONS]
    if unknown and request.method not in ("ACK", "CANCEL"):
        return respond(request, 420, "Bad Extension", [("Unsupported", ", ".join(unknown))])
    return None


def bad_request(request: Request, error: Malformed) -> Response | None:
    """400 that names what cannot be read; None when nobody could tell what it answers, or to an ACK."""
    if request.method == "ACK" or not request.headers.get("Via") or not request.headers.get("CSeq"):
        return None
    if request.version != VERSION:
        return respond(request, 505, "Version Not Supported")
    if str(error) == "Request-URI: URI is too long":
        return respond(request, 414, "Request-URI Too Long")
    return respond(request, 400, f"Bad Request: {error}"[:120])


def refuse(request: Request, refusal: Refusal) -> Response:
    """The SIP answer of a row of the error contract."""
    return respond(request, refusal.row.sip_status, refusal.phrase, refusal.sip_headers())


def note_source(request: Request, host: str, port: int) -> None:
    """Writes where the request really came from into its top Via (RFC 3261 18.2.1, RFC 3581)."""
    _, *rest = request.vias
    request.headers.setlist("Via", [request.via.seen_from(host, port), *rest])


def derived_branch(message: Request | Response) -> str:
    """The branch of our hop: the same for a request, its retransmissions, its CANCEL and its non-2xx ACK.

    Of a response whose top Via was ours and is off: the branch that it must have had.
    """
    top = message.via
    seed = f"{top.branch}|{top.host}|{top.port}|{message.call_id}|{message.cseq.sequence}"
    return "z9hG4bK-tt-" + hashlib.sha256(seed.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def is_cancel_of(cancel: Request, invite: Request) -> bool:
    """RFC 3261 9.1: the same top Via, and the same number in CSeq."""
    return cancel.via.branch == invite.via.branch and cancel.cseq.sequence == invite.cseq.sequence


def push_via(request: Request, transport: str, host: str, port: int, branch: str, extra: str = "") -> None:
    """`extra` are parameters as they are written, with their semicolon."""
    request.headers.insert("Via", f"SIP/2.0/{transport} {bracketed(host)}:{port};branch={branch}{extra}")


def pop_via(response: Response) -> Via:
    """Takes the top Via off; raises `Malformed` when nobody is left to send it to."""
    top, *rest = response.vias
    if not rest:
        raise Malformed("response with a single Via")
    response.headers.setlist("Via", rest)
    return parse_via(top)


def hop(request: Request) -> bool:
    """Counts Max-Forwards down; False when it has run out (RFC 3261 16.3)."""
    left = request.number("Max-Forwards")
    left = 70 if left is None else left
    request.headers.set("Max-Forwards", str(min(max(0, left - 1), _MOST_HOPS)))
    return left > 0


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def route_address(host: str, port: int, transport: str = "UDP") -> str:
    """An entry of ours for Record-Route."""
    over = "" if transport == "UDP" else f";transport={transport.lower()}"
    return f"<sip:{bracketed(host)}:{port}{over};lr>"


def drop_own_routes(request: Request, own: Sequence[tuple[str, int]]) -> None:
    """Takes our own entries off the top of the route set (RFC 3261 16.4)."""
    try:
        routes = request.addresses("Route")
    except Malformed:  # a host makes it of what the peer has recorded: its way is the flow all the same
        routes = []
    while routes and is_own(routes[0], own):
        routes = routes[1:]
    request.headers.setlist("Route", [route.text for route in routes])


def is_own(route: NameAddr, own: Sequence[tuple[str, int]]) -> bool:
    """Whether an entry of a route set is one of these addresses."""
    where = (_plain(route.uri.host), route.uri.port or 5060)
    return any(where == (_plain(host), port) for host, port in own)


def _plain(host: str) -> str:
    """One way to write an IPv6 address."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def new_branch() -> str:
    return "z9hG4bK-tt-" + secrets.token_hex(12)


_MOST_SHOWN = 16


def shown(text: str) -> str:
    """Something that a stranger wrote, for the log: short, and nothing that a terminal or a parser would act on."""
    return "".join(c if " " < c < "\x7f" and c not in '"\\' else "?" for c in text[:_MOST_SHOWN])
