"""What the edge does to SIP messages: the few operations of a proxy, on sipmessage's parser."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable

from sipmessage import URI, Address, Message, Parameters, Request, Response, Via
from teletrunk.errors import Refusal

from teletrunk_worker.edge.flows import LARGEST_MESSAGE

_MOST_HEADER_LINES = 200
_STRAY = re.compile(rb"[\r\n\0]")
SERVER = "Teletrunk"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK"


# What is relayed in a dialog.
IN_DIALOG = frozenset({"INVITE", "ACK", "BYE", "INFO", "UPDATE", "PRACK", "OPTIONS"})


class Malformed(ValueError):
    """Not a SIP message that can be understood."""


def parse(data: bytes) -> Request | Response:
    """Raises `Malformed`. Folded header lines (RFC 3261 7.3.1) are unfolded first."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if len(data) > LARGEST_MESSAGE or not separator or head.count(b"\r\n") > _MOST_HEADER_LINES:
        raise Malformed("too large or without end of headers")
    head = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    if _STRAY.search(head.replace(b"\r\n", b"")):  # another parser would see a line of its own there
        raise Malformed("line ends inside a header")
    try:
        message = Message.parse(head + separator + body)
        # These must be there and make sense before anybody can be answered.
        _ = message.via[0], message.cseq, message.call_id, message.from_address, message.to_address
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Malformed(str(error)) from None
    return message


def respond(request: Request, code: int, phrase: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A response of our own (RFC 3261 8.2.6); the To tag is the same for every answer to one request."""
    response = Response(code, phrase)
    response.headers.setlist("Via", list(request.headers.getlist("Via")))
    for name in ("From", "To", "Call-ID", "CSeq"):
        response.headers.set(name, request.headers[name])
    if code > 100 and "tag" not in request.to_address.parameters:
        tag = hashlib.sha256(f"{request.call_id}{request.via[0]}".encode()).hexdigest()[:16]
        response.headers.set("To", f"{request.headers['To']};tag={tag}")
    for name, value in headers:
        response.headers.add(name, value)
    response.headers.set("Server", SERVER)
    response.headers.set("Content-Length", "0")
    return response


def refuse(request: Request, refusal: Refusal) -> Response:
    """The SIP answer of a row of the error contract."""
    return respond(request, refusal.row.sip_status, refusal.phrase, refusal.sip_headers())


def note_source(request: Request, host: str, port: int) -> None:
    """Writes where the request really came from into its top Via (RFC 3261 18.2.1, RFC 3581)."""
    top, *rest = request.via
    parameters = top.parameters
    if "rport" in parameters:
        parameters = parameters.replace(rport=str(port), received=host)
    elif top.host != host:
        parameters = parameters.replace(received=host)
    request.via = [Via(top.transport, top.host, top.port, parameters), *rest]


def derived_branch(message: Request | Response) -> str:
    """The branch of our hop: the same for a request, its retransmissions, its CANCEL and its non-2xx ACK.

    Of a response whose top Via was ours and is off: the branch that it must have had.
    """
    top = message.via[0]
    seed = f"{top.parameters.get('branch', '')}|{top.host}|{top.port}|{message.call_id}|{message.cseq.sequence}"
    return "z9hG4bK-tt-" + hashlib.sha256(seed.encode()).hexdigest()[:24]


def is_cancel_of(cancel: Request, invite: Request) -> bool:
    """RFC 3261 9.1: the same top Via, and the same number in CSeq."""
    branches = {request.via[0].parameters.get("branch") for request in (cancel, invite)}
    return len(branches) == 1 and cancel.cseq.sequence == invite.cseq.sequence


def push_via(request: Request, transport: str, host: str, port: int, branch: str, **parameters: str | None) -> None:
    ours = Via(transport, host, port, Parameters(branch=branch, **parameters))
    request.via = [ours, *request.via]


def pop_via(response: Response) -> Via:
    """Takes the top Via off; raises `Malformed` when nobody is left to send it to."""
    top, *rest = response.via
    if not rest:
        raise Malformed("response with a single Via")
    response.via = rest
    return top


def hop(request: Request) -> bool:
    """Counts Max-Forwards down; False when it has run out (RFC 3261 16.3)."""
    left = request.max_forwards if request.max_forwards is not None else 70
    request.max_forwards = left - 1
    return left > 0


def route_address(host: str, port: int, transport: str = "UDP") -> Address:
    parameters = Parameters(lr=None) if transport == "UDP" else Parameters(transport=transport.lower(), lr=None)
    return Address(URI("sip", host, port=port, parameters=parameters))


def drop_own_routes(request: Request, own: Iterable[tuple[str, int]]) -> None:
    """Takes our own entries off the top of the route set (RFC 3261 16.4)."""
    ours = set(own)
    routes = request.route
    while routes and (routes[0].uri.host, routes[0].uri.port or 5060) in ours:
        routes.pop(0)
    if routes:
        request.route = routes
    else:
        request.headers.remove("Route")


def new_branch() -> str:
    return "z9hG4bK-tt-" + secrets.token_hex(12)
