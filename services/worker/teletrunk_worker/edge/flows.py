"""Where SIP comes in and goes out: UDP, TCP, and the loopback socket that the SIP hosts use.

A flow is the way back to a peer (RFC 5626's word): an address on the UDP socket, or one TCP connection. What
came in on a flow is answered on it, which is what works through NAT.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from teletrunk_worker.sip.message import LARGEST_MESSAGE

_MOST_CONNECTIONS = 1_000
_MOST_CONNECTIONS_AN_ADDRESS = 64
_HALF_READ_DEADLINE_S = 10.0
_FAREWELL_S = 1.0
_IDLE_DEADLINE_S = 3_700.0  # longer than the longest registration
_MOST_UNSENT = 1 << 20
_RECEIVE_BUFFER = 4 << 20
_SOCKET_BUFFER = 1 << 20

Address = tuple[str, int]


class Flow(Protocol):
    """The way to one peer. `token` names it in Via parameters for as long as the process lives."""

    @property
    def token(self) -> str: ...

    @property
    def transport(self) -> str: ...

    @property
    def peer(self) -> Address: ...

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent on it any more."""
        ...

    def send(self, data: bytes) -> bool:
        """False when the flow is gone."""
        ...


Receiver = Callable[[bytes, Flow], None]


@dataclass(frozen=True)
class UdpFlow:
    endpoint: UdpEndpoint
    peer: Address
    transport: str = "UDP"
    closed: bool = False

    @property
    def token(self) -> str:
        return f"u-{self.peer[0].replace(':', '_')}-{self.peer[1]}"

    def send(self, data: bytes) -> bool:
        return self.endpoint.send(data, self.peer)


class UdpEndpoint(asyncio.DatagramProtocol):
    """One bound UDP socket."""

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None
        self._is_ipv6 = False

    @classmethod
    async def bind(cls, host: str, port: int, receive: Receiver) -> UdpEndpoint:
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(lambda: cls(receive), local_addr=(host, port))
        return endpoint

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._is_ipv6 = transport.get_extra_info("socket").family == socket.AF_INET6
        # The kernel gives what it may: a burst waits there while we are busy.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._receive(data, UdpFlow(self, (_plain(addr[0]), addr[1])))

    def flow(self, peer: Address) -> UdpFlow:
        return UdpFlow(self, peer)

    def send(self, data: bytes, peer: Address) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.sendto(data, (f"::ffff:{peer[0]}", peer[1]) if self._mapped(peer[0]) else peer)
        return True

    def _mapped(self, host: str) -> bool:
        return self._is_ipv6 and ":" not in host

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class TcpFlow:
    """One accepted TCP connection."""

    transport = "TCP"

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.token = f"t-{number}"
        self._writer = writer
        peer = writer.get_extra_info("peername")
        self.peer: Address = (_plain(peer[0]), peer[1])

    @property
    def closed(self) -> bool:
        return self._writer.is_closing()

    def send(self, data: bytes) -> bool:
        if self.closed:
            return False
        if self._writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            self._writer.transport.abort()  # it does not read: nothing more can be said to it
            return False
        self._writer.write(data)
        return True


class TcpListener:
    """Accepts SIP over TCP, frames it by Content-Length (RFC 3261 18.3), and keeps the connections."""

    def __init__(self, receive: Receiver, on_close: Callable[[], None]) -> None:
        self._receive = receive
        self._on_close = on_close
        self._numbers = itertools.count(1)
        self._flows: dict[str, TcpFlow] = {}
        self._server: asyncio.Server | None = None

    @classmethod
    async def bind(cls, host: str, port: int, receive: Receiver, on_close: Callable[[], None]) -> TcpListener:
        """`on_close` is called when a connection has ended."""
        listener = cls(receive, on_close)
        listener._server = await asyncio.start_server(listener._serve, host, port, limit=LARGEST_MESSAGE)
        return listener

    def find(self, token: str) -> TcpFlow | None:
        return self._flows.get(token)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = TcpFlow(next(self._numbers), writer)
        same_address = sum(1 for other in self._flows.values() if other.peer[0] == flow.peer[0])
        if len(self._flows) >= _MOST_CONNECTIONS or same_address >= _MOST_CONNECTIONS_AN_ADDRESS:
            writer.transport.abort()
            return
        self._flows[flow.token] = flow
        try:
            while (data := await _read_message(reader)) is not None:
                if data == b"\r\n\r\n":
                    flow.send(b"\r\n")  # RFC 5626 keep-alive
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
            writer.transport.abort()
            self._on_close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for flow in list(self._flows.values()):
            flow._writer.transport.abort()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1)


class Unframed(ValueError):
    """Nobody can tell where the message ends, and so where the next one begins. `head` is all that there is of it."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        super().__init__("a message without a length that can be read")


async def _hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends our side and passes over the rest of theirs: what is closed before it is read resets what we have said."""
    writer.write_eof()
    async with asyncio.timeout(_FAREWELL_S):
        while await reader.read(LARGEST_MESSAGE):
            pass


def _plain(host: str) -> str:
    """An IPv4 address as such, also where an IPv6 socket saw it: bans and trusted networks know it by that name."""
    return host.removeprefix("::ffff:") if "." in host else host


async def _read_message(reader: asyncio.StreamReader) -> bytes | None:
    """The next whole message, a keep-alive, or None at the end of the stream."""
    line_ends = b""
    while (first := await asyncio.wait_for(reader.read(1), _IDLE_DEADLINE_S)) in (b"\r", b"\n"):
        line_ends += first  # those before a message are to be ignored (RFC 3261 7.5); two of them ask for an answer
        if line_ends == b"\r\n\r\n":
            return line_ends
        line_ends = line_ends[-3:]
    if not first:
        return None
    async with asyncio.timeout(_HALF_READ_DEADLINE_S):
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = _content_length(head)
        if length > LARGEST_MESSAGE:
            raise ValueError("message too large")
        return head + await reader.readexactly(length)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            text = value.strip()
            if not (text.isdigit() and len(text) <= 10):
                raise Unframed(head)
            return int(text)
    return 0
