"""SIP over TCP and TLS: accepts and connects, frames by Content-Length (RFC 3261 18.3), answers keep-alives
(RFC 5626 3.5.1).

A connection of a stranger is held for half a minute, however much it says: who has shown a password by then keeps
it. So nobody takes all places by being silent, nor by one password: of one login's connections the one that was heard
longest ago makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from teletrunk_worker.sip.message import LARGEST_MESSAGE, unfolded
from teletrunk_worker.sip.transport.flow import KEEP_ALIVE, Address, Receiver, network_of, peer_of

MOST_CONNECTIONS: Final = 1_000
MOST_UNPROVEN: Final = 16  # connections of one address that has shown no password on them
UNPROVEN_S: Final = 30.0
_MOST_AN_ADDRESS = 256
MOST_A_LOGIN: Final = 64  # a PBX may have one for each of its calls
_HALF_READ_DEADLINE_S = 10.0
_FAREWELL_S = 1.0
_IDLE_DEADLINE_S = 3_700.0  # longer than the longest registration
_MOST_UNSENT = 1 << 20
_PONG = b"\r\n"
_HANDSHAKE_S = 5.0
_CONNECT_S = 5.0


class TcpFlow:
    """One connection, accepted or made by us."""

    def __init__(
        self, token: str, transport: str, writer: asyncio.StreamWriter, proved: Callable[[TcpFlow], None]
    ) -> None:
        """`proved` is told when a password was shown for the first time."""
        self.token = token
        self.transport = transport
        self.proven = False
        self.login = ""  # whose password was shown first
        self._proved = proved
        self._writer = writer
        self._opened_at = self.heard_at = time.monotonic()
        self.peer: Address = peer_of(writer.get_extra_info("peername"))
        self.network = network_of(self.peer[0])

    @property
    def closed(self) -> bool:
        return self._writer.is_closing()

    @property
    def patience(self) -> float:
        """Seconds that it may be silent from now on."""
        return _IDLE_DEADLINE_S if self.proven else self._opened_at + UNPROVEN_S - time.monotonic()

    def prove(self, login: str) -> None:
        if not self.proven:
            self.proven, self.login = True, login
            self._proved(self)

    def send(self, data: bytes) -> bool:
        if self.closed:
            return False
        if self._writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            self.abort()  # it does not read: nothing more can be said to it
            return False
        self._writer.write(data)
        return True

    def abort(self) -> None:
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()  # what was said last still goes out

    def ping(self) -> bool:
        return self.send(KEEP_ALIVE)


Closed = Callable[[TcpFlow], None]


class TcpListener:
    """Keeps the connections of one transport, TCP or TLS, and says which may stay."""

    def __init__(self, receive: Receiver, on_close: Closed, transport: str = "TCP") -> None:
        """`on_close` is called when a connection has ended."""
        self._receive = receive
        self._on_close = on_close
        self._transport = transport
        self._connections: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._flows: dict[str, TcpFlow] = {}  # the oldest first
        self._server: asyncio.Server | None = None

    async def listen(self, listening: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """On a socket that is bound. Without it, there are only connections of our own."""
        secured: dict[str, Any] = {} if context is None else {"ssl": context, "ssl_handshake_timeout": _HANDSHAKE_S}
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=LARGEST_MESSAGE, **secured)

    async def connect(self, peer: Address, context: ssl.SSLContext | None = None, name: str = "") -> TcpFlow:
        """A connection of ours; `name` is the one that the peer's certificate must bear. Raises OSError.

        What is asked for on it comes to the same place as what others ask on theirs.
        """
        secured: dict[str, Any] = {} if context is None else {"ssl": context, "server_hostname": name or peer[0]}
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(*peer, limit=LARGEST_MESSAGE, **secured)
        except TimeoutError:
            raise OSError(f"no connection to {peer[0]} port {peer[1]} within {_CONNECT_S:.0f} s") from None
        flow = self._flow(writer)
        flow.proven = True
        reading = asyncio.get_running_loop().create_task(self._read(reader, writer, flow))
        self._connections.add(reading)
        reading.add_done_callback(self._connections.discard)
        return flow

    def _flow(self, writer: asyncio.StreamWriter) -> TcpFlow:
        token = f"{'t' if self._transport == 'TCP' else 's'}-{next(self._numbers)}"
        return TcpFlow(token, self._transport, writer, self._make_room_among_its_own)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def flow_of(self, token: str) -> TcpFlow | None:
        return self._flows.get(token)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = self._flow(writer)
        if self._has_room_for(flow):
            await self._read(reader, writer, flow)
        else:
            flow.abort()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: TcpFlow) -> None:
        self._flows[flow.token] = flow
        try:
            while (data := await _read_message(reader, flow)) is not None:
                flow.heard_at = time.monotonic()
                if data == KEEP_ALIVE:
                    flow.send(_PONG)
                else:
                    self._receive(data, flow)
        except Unframed as error:
            self._receive(error.head, flow)  # to be told what is wrong with it
            with contextlib.suppress(OSError, TimeoutError):
                await _hear_out(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # a broken or silent peer: closing the connection is the answer
        finally:
            del self._flows[flow.token]
            flow.abort()
            self._on_close(flow)

    def _has_room_for(self, flow: TcpFlow) -> bool:
        """Makes room at the cost of the oldest stranger, when there is one."""
        neighbours = [other for other in self._flows.values() if other.network == flow.network]
        strangers = [other for other in neighbours if not other.proven]
        if len(strangers) >= MOST_UNPROVEN:  # the oldest has had its time to show a password
            strangers[0].abort()
        if len(neighbours) >= _MOST_AN_ADDRESS:
            return False
        if len(self._flows) < MOST_CONNECTIONS:
            return True
        oldest = next((other for other in self._flows.values() if not other.proven and not other.closed), None)
        if oldest is not None:
            oldest.abort()
        return oldest is not None

    def _make_room_among_its_own(self, flow: TcpFlow) -> None:
        same = [other for other in self._flows.values() if other.login == flow.login and not other.closed]
        if len(same) > MOST_A_LOGIN:
            min(same, key=lambda other: other.heard_at).abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for flow in list(self._flows.values()):
            flow.abort()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._server.wait_closed()


class Unframed(ValueError):
    """Nobody can tell where the message ends, or it is too far. `head` is all that is read of it."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        super().__init__("a message without a length that can be borne")


async def _hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends our side and passes over the rest of theirs: what is closed before it is read resets what we have said."""
    writer.write_eof()
    async with asyncio.timeout(_FAREWELL_S):
        while await reader.read(LARGEST_MESSAGE):
            pass


async def _read_message(reader: asyncio.StreamReader, flow: TcpFlow) -> bytes | None:
    """The next whole message, a keep-alive, or None at the end of the stream."""
    line_ends = b""
    while (first := await _first_byte(reader, flow)) in (b"\r", b"\n"):
        line_ends += first  # those before a message are to be ignored (RFC 3261 7.5); two of them ask for an answer
        if line_ends == KEEP_ALIVE:
            return line_ends
        line_ends = line_ends[-3:]
    if not first:
        return None
    async with asyncio.timeout(_HALF_READ_DEADLINE_S):
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = _content_length(head)
        if length > LARGEST_MESSAGE:
            raise Unframed(head)
        return head + await reader.readexactly(length)


async def _first_byte(reader: asyncio.StreamReader, flow: TcpFlow) -> bytes:
    """Raises `TimeoutError` when the peer's time is up."""
    while True:
        was_proven = flow.proven
        try:
            async with asyncio.timeout(max(0, flow.patience)):
                return await reader.read(1)
        except TimeoutError:
            if flow.proven == was_proven:
                raise


def _content_length(head: bytes) -> int:
    for line in unfolded(head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            text = value.strip()
            if not (text.isdigit() and len(text) <= 10):
                raise Unframed(head)
            return int(text)
    return 0
