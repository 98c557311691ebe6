"""One TCP connection of a client: packets in, packets out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from pyrogram import raw

from teletrunk_sandbox import envelope, tl, transport
from teletrunk_sandbox.errors import ProtocolViolation, RpcRefusal
from teletrunk_sandbox.handshake import Handshake
from teletrunk_sandbox.inbox import Inbox

if TYPE_CHECKING:
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.state import Authorization

log = structlog.get_logger(__name__)

KEY_NOT_FOUND = -404
_IDLE_SECONDS = 120.0
_UNSENT_LIMIT = 8 << 20


class Connection:
    """Reads packets until the client goes, errs, or is silent for longer than it promised."""

    def __init__(self, dc: DataCentre, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._dc = dc
        self._reader = reader
        self._writer = writer
        self._framing: transport.Framing | None = None
        self._handshake: Handshake | None = None
        self._authorization: Authorization | None = None
        self._last_plain_id = 0
        self.idle_seconds = _IDLE_SECONDS
        self.peer: str = "{}:{}".format(*writer.get_extra_info("peername")[:2])
        self.local: tuple[str, int] = writer.get_extra_info("sockname")[:2]

    async def serve(self) -> None:
        """Handle the connection until its end."""
        try:
            await self._serve()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        except ProtocolViolation as violation:
            log.warning("connection closed", peer=self.peer, why=str(violation))
        finally:
            self._dc.sessions.release(self)
            self._writer.close()

    def transmit(self, message: envelope.Message) -> None:
        """Encrypt and send a message of the session."""
        if self._authorization:
            self._write(envelope.seal(message, self._authorization.auth_key))

    def refuse_key(self) -> None:
        """Tell the client that its auth key does not exist, and hang up."""
        self._write(KEY_NOT_FOUND.to_bytes(4, "little", signed=True))
        self.close()

    def close(self) -> None:
        """Hang up; what was written is still sent."""
        self._writer.close()

    def has_ended(self) -> bool:
        """Whether either side has hung up already."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def _serve(self) -> None:
        async with asyncio.timeout(self.idle_seconds):
            self._framing = await transport.accept(self._reader)
        while not self._writer.is_closing():
            async with asyncio.timeout(self.idle_seconds):
                packet = await self._framing.read(self._reader)
            if len(packet) < 20:
                raise ProtocolViolation(f"packet of {len(packet)} bytes")
            if packet[:8] == bytes(8):
                self._receive_plain(packet)
            else:
                self._receive_encrypted(packet)

    def _receive_plain(self, packet: bytes) -> None:
        length = int.from_bytes(packet[16:20], "little")
        body = packet[20 : 20 + length]
        if len(body) != length:
            raise ProtocolViolation("unencrypted message is cut short")
        try:
            query = tl.parse(body)
        except RpcRefusal as refusal:
            raise ProtocolViolation("unknown unencrypted message") from refusal
        if self._handshake is None or isinstance(query, raw.functions.ReqPqMulti):
            self._handshake = Handshake(self._dc.key, self._dc.clock)
        answer = self._handshake.answer(query).write()
        if self._handshake.auth_key:
            key = self._handshake.auth_key
            self._dc.state.add_authorization(envelope.auth_key_id(key), key)
            self._handshake = None
        self._last_plain_id = max(int(self._dc.clock.now() * (1 << 32)) & ~3 | 1, self._last_plain_id + 4)
        head = bytes(8) + self._last_plain_id.to_bytes(8, "little") + len(answer).to_bytes(4, "little")
        self._write(head + answer)

    def _receive_encrypted(self, packet: bytes) -> None:
        authorization = self._dc.state.authorizations.get(packet[:8])
        if authorization is None:
            self.refuse_key()
            return
        if self._dc.faults.is_cut(authorization.key_id):
            self.close()
            return
        self._authorization = authorization
        message = envelope.unseal(packet, authorization.auth_key)
        session = self._dc.sessions.open(authorization, message.session_id, self)
        Inbox(self._dc, self, session).receive(message)

    def _write(self, packet: bytes) -> None:
        if self._framing is None or self._writer.is_closing():
            return
        self._writer.write(self._framing.frame(packet))
        if self._writer.transport.get_write_buffer_size() > _UNSENT_LIMIT:
            log.warning("client does not read", peer=self.peer)
            self._writer.transport.abort()
