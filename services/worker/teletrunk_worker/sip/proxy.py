"""What a record-routing proxy does to the messages that pass it (RFC 3261 16, RFC 5658)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.transport.flow import Address, plain, without_zone
from teletrunk_worker.sip.uri import NameAddr
from teletrunk_worker.sip.via import Via, parse_via

_KEY = secrets.token_bytes(32)  # nobody else can say what branch a request of ours has
_MOST_HOPS = 255  # RFC 3261 20.22


def note_source(request: Request, host: str, port: int) -> None:
    """Writes where the request really came from into its top Via (RFC 3261 18.2.1, RFC 3581)."""
    _, *rest = request.vias
    request.headers.setlist("Via", [request.via.seen_from(without_zone(host), port), *rest])


def derived_branch(message: Request | Response) -> str:
    """The branch of our hop: the same for a request, its retransmissions, its CANCEL and its non-2xx ACK.

    Of a response whose top Via was ours and is off: the branch that it must have had.
    """
    top = message.via
    seed = f"{top.branch}|{top.host}|{top.port}|{message.call_id}|{message.cseq.sequence}"
    return "z9hG4bK-tt-" + hmac.digest(_KEY, seed.encode("utf-8", "surrogateescape"), "sha256").hex()[:24]


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
    return f"<sip:{bracketed(host)}:{port}{transport_parameter(transport)};lr>"


def transport_parameter(transport: str) -> str:
    """What a URI says of its transport; nothing of UDP, which is meant without a word (RFC 3261 19.1.2)."""
    return "" if transport == "UDP" else f";transport={transport.lower()}"


def drop_own_routes(request: Request, own: Sequence[Address]) -> None:
    """Takes our own entries off the top of the route set (RFC 3261 16.4)."""
    try:
        routes = request.addresses("Route")
    except Malformed:  # a host makes it of what the peer has recorded: its way is the flow all the same
        routes = []
    while routes and is_own(routes[0], own):
        routes = routes[1:]
    request.headers.setlist("Route", [route.text for route in routes])


def suit_strict_router(request: Request) -> None:
    """For a next hop of RFC 2543's time, without `lr`: it wants to find itself in the Request-URI, and the target
    behind all others (RFC 3261 16.6, step 6)."""
    routes = request.addresses("Route")
    # Behind the bracket it is at a wrong place, and meant all the same.
    if routes and not any("lr" in where.parameters for where in (routes[0].uri, routes[0])):
        request.headers.setlist("Route", [*(route.text for route in routes[1:]), f"<{request.target}>"])
        request.target = routes[0].uri.target


def is_own(route: NameAddr, own: Sequence[Address]) -> bool:
    """Whether an entry of a route set is one of these addresses."""
    where = (plain(route.uri.host).lower(), route.uri.port or 5060)
    return any(where == (plain(host).lower(), port) for host, port in own)


def new_branch() -> str:
    return "z9hG4bK-tt-" + secrets.token_hex(12)
