"""A SIP client made of a bare UDP or TCP socket: what the edge says is read from the wire, header by header.

Its digest is its own (RFC 7616), so the product's is checked by an implementation that is not it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sipmessage import URI, AuthChallenge, Message, Request, Response
from teletrunk_sandbox import ports

HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
PATIENCE_S = 10.0
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


# RFC 3261's grammar has no brackets there; `sipmessage` insists on them.
_RECEIVED_V6 = re.compile(rb";received=([0-9a-f]*:[0-9a-f:]+)")


@functools.cache
def unheard_port() -> int:
    """Where sound is sent that nobody listens to: a held port, or it would reach the socket of another test."""
    return ports.hold(2)


def digest(login: str, password: str, method: str, uri: str, challenge: AuthChallenge, nc: int = 1) -> str:
    """The Authorization header's value."""
    given = challenge.parameters
    algorithm, cnonce, count = given.get("algorithm", "MD5"), secrets.token_hex(8), f"{nc:08x}"

    def h(text: str) -> str:
        return HASHES[algorithm](text.encode()).hexdigest()

    identity, request = h(f"{login}:{given['realm']}:{password}"), h(f"{method}:{uri}")
    response = h(f"{identity}:{given['nonce']}:{count}:{cnonce}:auth:{request}")
    return (
        f'Digest username="{login}", realm="{given["realm"]}", nonce="{given["nonce"]}", uri="{uri}", '
        f'algorithm={algorithm}, qop=auth, nc={count}, cnonce="{cnonce}", response="{response}"'
    )


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass
class Exchange:
    """Every answer to one request, in order; the last one is final."""

    answers: list[Response] = field(default_factory=list)

    @property
    def final(self) -> Response:
        return self.answers[-1]

    @property
    def status(self) -> tuple[int, str]:
        return self.final.code, self.final.phrase

    def header(self, name: str) -> list[str]:
        return self.final.headers.getlist(name)


class SipWire:
    """One socket and one identity. Messages that are requests wait in `requests`."""

    def __init__(self, server: tuple[str, int], local: tuple[str, int], transport: str) -> None:
        self.server = server
        self.local = local
        self.transport = transport
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self._answers: dict[str, asyncio.Queue[Response]] = {}
        self._cseq = itertools.count(1)
        self._send_bytes: Callable[[bytes], object] = lambda data: None
        self.received: Callable[[bytes], object] = self._take  # what is done with a message; a test may put its own

    # Sending.

    def send(self, data: bytes) -> None:
        self._send_bytes(data)

    def request(self, method: str, user: str, login: str, **headers: str) -> Request:
        here, there = _written(self.local[0]), _written(self.server[0])
        target = f"{user}@{there}" if user else there
        uri = f"sip:{target}:{self.server[1]}"
        sound = "127.0.0.1" if ":" in self.local[0] else self.local[0]  # sound has no IPv6
        body = _SDP.format(host=sound, port=unheard_port()).encode() if method == "INVITE" else b""
        via = f"SIP/2.0/{self.transport} {here}:{self.local[1]}"
        lines = {
            "Via": f"{via};rport;branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards": "70",
            "From": f"<sip:{login}@teletrunk>;tag={secrets.token_hex(4)}",
            "To": f"<{uri}>" if method != "REGISTER" else f"<sip:{login}@teletrunk>",
            "Call-ID": secrets.token_hex(10),
            "CSeq": f"{next(self._cseq)} {method}",
            "Contact": f"<sip:{login}@{here}:{self.local[1]};transport={self.transport.lower()}>",
            "Content-Length": str(len(body)),
            **({"Content-Type": "application/sdp"} if body else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = f"{method} {uri} SIP/2.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        parsed = Message.parse(head.encode() + b"\r\n" + body)
        assert isinstance(parsed, Request)
        return parsed

    async def ask(self, request: Request, patience: float = PATIENCE_S) -> Exchange:
        """Sends a request and collects answers up to the final one, which an INVITE's refusal acknowledges."""
        branch = request.via[0].parameters["branch"] or ""
        queue = self._answers[branch] = asyncio.Queue()
        self.send(bytes(request))
        exchange = Exchange()
        async with asyncio.timeout(patience):
            while not exchange.answers or exchange.final.code < 200:
                exchange.answers.append(await queue.get())
        if request.method == "INVITE" and exchange.final.code >= 300:
            self.acknowledge(request, exchange.final)
        return exchange

    async def repeat(self, request: Request, patience: float = PATIENCE_S) -> Response:
        """Sends the same bytes again, as a client does that heard nothing; the next answer."""
        self.send(bytes(request))
        async with asyncio.timeout(patience):
            return await self._answers[request.via[0].parameters["branch"] or ""].get()

    def acknowledge(self, request: Request, final: Response) -> None:
        self._follow_up("ACK", request, final.headers["To"])

    def in_dialog(self, method: str, invite: Request, answer: Response, **headers: str) -> Request:
        """A request in the dialog that the answer made; `headers` may say otherwise."""
        tags = {"From": invite.headers["From"], "To": answer.headers["To"], "Call_ID": invite.call_id}
        return self.request(method, "", "pbx", **{**tags, **headers})

    def cancel(self, request: Request) -> None:
        self._follow_up("CANCEL", request, request.headers["To"])

    def _follow_up(self, method: str, request: Request, to: str) -> None:
        """ACK or CANCEL, on the branch of its INVITE (RFC 3261 9.1, 17.1.1.3)."""
        follower = Request(method, request.uri)
        for name in ("Via", "Max-Forwards", "From", "Call-ID"):
            follower.headers.set(name, request.headers[name])
        follower.headers.set("To", to)
        follower.headers.set("CSeq", f"{request.headers['CSeq'].split()[0]} {method}")
        follower.headers.set("Content-Length", "0")
        self.send(bytes(follower))

    async def authenticated(
        self,
        method: str,
        user: str,
        login: str,
        password: str,
        algorithm: str = "",
        patience: float = PATIENCE_S,
        **headers: str,
    ) -> Exchange:
        """A request, its challenge, and the request again with credentials."""
        first = self.request(method, user, login, **headers)
        challenged = await self.ask(first)
        if challenged.final.code != 401:
            return challenged
        again = self.answer_challenge(first, challenged.final, login, password, algorithm)
        return await self.ask(again, patience)

    def answer_challenge(
        self, first: Request, challenge: Response, login: str, password: str, algorithm: str = ""
    ) -> Request:
        """With the algorithm that is wanted, or the first that is offered."""
        offered = [AuthChallenge.parse(value) for value in challenge.headers.getlist("WWW-Authenticate")]
        chosen = next(offer for offer in offered if algorithm in ("", offer.parameters.get("algorithm", "MD5")))
        again = Message.parse(bytes(first))
        assert isinstance(again, Request)
        again.headers.set("CSeq", f"{next(self._cseq)} {first.method}")
        again.headers.set(
            "Via", again.headers["Via"].rpartition("branch=")[0] + f"branch=z9hG4bK{secrets.token_hex(8)}"
        )
        value = digest(login, password, first.method, str(first.uri), chosen)
        again.headers.set("Authorization", value)
        return again

    async def register(self, login: str, password: str, expires: int = 300, **headers: str) -> Exchange:
        return await self.authenticated(
            "REGISTER", "", login, password, patience=PATIENCE_S, Expires=str(expires), **headers
        )

    async def invite(self, user: str, login: str, password: str, patience: float = PATIENCE_S) -> Exchange:
        quoted = user.replace("@", "%40").replace("#", "%23")
        return await self.authenticated("INVITE", quoted, login, password, patience=patience)

    # Receiving.

    async def next_request(self, method: str, patience: float = PATIENCE_S) -> Request:
        """The next request of this method that the edge sends; others before it are passed over."""
        async with asyncio.timeout(patience):
            while (request := await self.requests.get()).method != method:
                pass
        return request

    def answer(self, request: Request, code: int, phrase: str) -> None:
        response = Response(code, phrase)
        for name in ("Via", "From", "To", "Call-ID", "CSeq"):
            response.headers.setlist(name, list(request.headers.getlist(name)))
        if ";tag=" not in request.headers["To"]:
            response.headers.set("To", f"{request.headers['To']};tag={secrets.token_hex(4)}")
        response.headers.set("Content-Length", "0")
        self.send(bytes(response))

    def _take(self, data: bytes) -> None:
        message = Message.parse(_RECEIVED_V6.sub(rb";received=[\1]", data))
        if isinstance(message, Request):
            self.requests.put_nowait(message)
        elif message.cseq.method == "CANCEL":
            return  # its INVITE's answer, on the same branch, is what counts
        elif queue := self._answers.get(message.via[0].parameters.get("branch") or ""):
            queue.put_nowait(message)


def uri_of(data: bytes) -> URI:
    """The URI of a request as it is on the wire."""
    request = Message.parse(data)
    assert isinstance(request, Request)
    return request.uri


def response_to(request: Request, code: int, phrase: str, wire: SipWire, body: bytes = b"", pad: int = 0) -> Response:
    """An answer that makes or keeps a dialog, as a PBX at this socket would give it; `pad` makes it longer."""
    response = Response(code, phrase, body)
    for name in ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, list(request.headers.getlist(name)))
    response.headers.set("To", f"{request.headers['To']};tag=pbx")
    response.headers.set("Contact", f"<sip:pbx@{_written(wire.local[0])}:{wire.local[1]}>")
    if body:
        response.headers.set("Content-Type", "application/sdp")
    if pad:
        response.headers.set("X-Padding", "p" * pad)
    response.headers.set("Content-Length", str(len(body)))
    return response


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.wire: SipWire | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.wire is not None and data.strip():
            self.wire.received(data)


@contextlib.asynccontextmanager
async def udp(server: tuple[str, int], host: str = "127.0.0.1") -> AsyncIterator[SipWire]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(_Datagrams, local_addr=(host, 0))
    protocol.wire = wire = SipWire(server, transport.get_extra_info("sockname")[:2], "UDP")
    wire._send_bytes = lambda data: transport.sendto(data, server)
    try:
        yield wire
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def tcp(server: tuple[str, int], context: ssl.SSLContext | None = None) -> AsyncIterator[SipWire]:
    """With a context it is TLS."""
    reader, writer = await asyncio.open_connection(*server, ssl=context)
    wire = SipWire(server, writer.get_extra_info("sockname")[:2], "TCP" if context is None else "TLS")
    wire._send_bytes = writer.write

    async def read() -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            wire.received(head + await reader.readexactly(length))

    task = asyncio.create_task(read())
    try:
        yield wire
    finally:
        task.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
