"""A PBX of bare sockets, UDP, TCP and TLS: answers what it is asked as a test says, and keeps what it was asked.

`sip_wire` is the client; this is whom a Worker registers at, asks by OPTIONS and rings.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from sipmessage import Message, Request, Response
from teletrunk_sandbox import ports

PATIENCE_S = 10.0
CHALLENGE = 'Digest realm="pbx", nonce="abc123", qop="auth", algorithm=MD5'
Send = Callable[[bytes], Any]


class Asked(NamedTuple):
    transport: str
    request: Request
    send: Send

    def answer(self, code: int, phrase: str, body: bytes = b"", **headers: str) -> None:
        self.send(bytes(said(self.request, code, phrase, body, **headers)))

    @property
    def text(self) -> str:
        """The transport and what came by it."""
        return f"{self.transport} {bytes(self.request).decode(errors='replace')}"


Answers = Callable[[Asked], None]


def said(request: Request, code: int, phrase: str, body: bytes = b"", **headers: str) -> Response:
    response = Response(code, phrase, body)
    for name in ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, list(request.headers.getlist(name)))
    if ";tag=" not in request.headers["To"]:
        response.headers.set("To", f"{request.headers['To']};tag=pbx")
    for name, value in headers.items():
        response.headers.set(name.replace("_", "-"), value)
    if body:
        response.headers.set("Content-Type", "application/sdp")
    response.headers.set("Content-Length", str(len(body)))
    return response


class PbxWire:
    """It lets everybody register who answers its challenge, is there for OPTIONS, and busy for calls.

    `answers` may do otherwise, by method.
    """

    def __init__(self, port: int, tls_port: int) -> None:
        self.port = port
        self.tls_port = tls_port
        self.answers: dict[str, Answers] = {"REGISTER": register, "OPTIONS": ok, "INVITE": busy, "ACK": nothing}
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.responses: asyncio.Queue[Response] = asyncio.Queue()
        self._writers: set[asyncio.StreamWriter] = set()

    def received(self, data: bytes, transport: str, send: Send) -> None:
        if not data.strip():
            return
        message = Message.parse(data)
        if isinstance(message, Response):
            self.responses.put_nowait(message)
            return
        asked = Asked(transport, message, send)
        self.asked.put_nowait(asked)
        self.answers.get(message.method, ok)(asked)

    async def next(self, method: str, patience: float = PATIENCE_S) -> Asked:
        """The next request of this method; others before it are passed over."""
        async with asyncio.timeout(patience):
            while (asked := await self.asked.get()).request.method != method:
                pass
        return asked

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        transport = "TCP" if writer.get_extra_info("ssl_object") is None else "TLS"
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lstrip()
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if head else 0
                self.received(head + await reader.readexactly(length), transport, writer.write)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def register(asked: Asked) -> None:
    if asked.request.headers.get("Authorization") is None:
        asked.answer(401, "Unauthorized", WWW_Authenticate=CHALLENGE)
    else:
        asked.answer(200, "OK", Contact=asked.request.headers["Contact"], Expires=asked.request.headers["Expires"])


def ok(asked: Asked) -> None:
    asked.answer(200, "OK")


def busy(asked: Asked) -> None:
    asked.answer(486, "Busy Here")


def nothing(asked: Asked) -> None:
    """For what has no answer, or gets none."""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, pbx: PbxWire) -> None:
        self._pbx = pbx

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._pbx.received(data, "UDP", lambda answer: self._transport.sendto(answer, addr))


@contextlib.asynccontextmanager
async def pbx_wire(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[PbxWire]:
    """On UDP and TCP at one port; with a context on TLS at another."""
    pbx = PbxWire(ports.hold(), ports.hold())
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(pbx), local_addr=(host, pbx.port))
    streams = [await asyncio.start_server(pbx.serve, host, pbx.port)]
    if context is not None:
        streams.append(await asyncio.start_server(pbx.serve, host, pbx.tls_port, ssl=context))
    try:
        yield pbx
    finally:
        datagrams.close()
        for server in streams:
            server.close()
        pbx.close()
