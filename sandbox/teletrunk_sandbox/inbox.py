"""Messages from a client: the envelope's checks, service messages, and what is left for the API.

https://core.telegram.org/mtproto/service_messages and .../service_messages_about_messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyrogram import raw
from pyrogram.raw.core import FutureSalts, MsgContainer, TLObject

from teletrunk_sandbox import dispatch, tl
from teletrunk_sandbox.envelope import Message
from teletrunk_sandbox.errors import ProtocolViolation, RpcRefusal

if TYPE_CHECKING:
    from teletrunk_sandbox.connection import Connection
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.session import Session

_PAST_SECONDS = 300
_FUTURE_SECONDS = 30
_CONTAINER_LIMIT = 1020

TOO_LOW, TOO_HIGH, NOT_A_CLIENTS, EVEN_EXPECTED, ODD_EXPECTED, BAD_SALT, BAD_CONTAINER = 16, 17, 18, 34, 35, 48, 64
_SILENT = (raw.types.MsgsAck, raw.types.HttpWait)  # what nobody acknowledges
_EITHER = (raw.functions.Ping, raw.functions.PingDelayDisconnect, raw.types.MsgsStateReq, raw.types.MsgResendReq)


class Inbox:
    """Takes one packet's message for a session."""

    def __init__(self, dc: DataCentre, connection: Connection, session: Session) -> None:
        self._dc = dc
        self._connection = connection
        self._session = session

    def receive(self, message: Message) -> None:
        """Check the message's salt and ids, then carry out it or what it contains."""
        complaint = _complaint(message.msg_id, self._dc.clock.now())
        if complaint:
            self._complain(message, complaint)
        elif not self._dc.sessions.accepts_salt(self._session.authorization.key_id, message.salt):
            self._complain(message, BAD_SALT)
        else:
            self._announce(message.msg_id)
            self._take(message)

    def _complain(self, message: Message, code: int) -> None:
        if code == BAD_SALT:
            notice: TLObject[Any] = raw.types.BadServerSalt(
                bad_msg_id=message.msg_id,
                bad_msg_seqno=message.seq_no,
                error_code=code,
                new_server_salt=self._session.salt(),
            )
        else:
            notice = raw.types.BadMsgNotification(
                bad_msg_id=message.msg_id, bad_msg_seqno=message.seq_no, error_code=code
            )
        self._session.notify(notice.write())

    def _announce(self, first_msg_id: int) -> None:
        if self._session.announced:
            return
        self._session.announced = True
        created = raw.types.NewSessionCreated(
            first_msg_id=first_msg_id,
            unique_id=int.from_bytes(self._session.id, "little", signed=True),
            server_salt=self._session.salt(),
        )
        self._session.push(created.write())

    def _take(self, message: Message) -> None:
        if not self._session.first_seen(message.msg_id):
            return
        try:
            body = tl.unpack(message.body)
            if tl.constructor(body) == MsgContainer.ID:
                if message.seq_no % 2:
                    self._complain(message, EVEN_EXPECTED)
                else:
                    self._take_container(message, body)
                return
            query = tl.parse(body)
        except RpcRefusal as refusal:
            dispatch.refuse(self._session, message.msg_id, refusal, tl.constructor(message.body))
        else:
            if wrong := _parity(query, message.seq_no):
                self._complain(message, wrong)
            else:
                self._carry_out(message.msg_id, query)

    def _take_container(self, container: Message, body: bytes) -> None:
        for message in _contents(container, body):
            complaint = _complaint(message.msg_id, self._dc.clock.now())
            if complaint or tl.constructor(message.body) == MsgContainer.ID:
                self._complain(message, complaint or BAD_CONTAINER)
            else:
                self._take(message)

    def _carry_out(self, msg_id: int, query: TLObject[Any]) -> None:
        session = self._session
        match query:
            case raw.types.MsgsAck():
                session.acknowledge(query.msg_ids)
            case raw.functions.Ping() | raw.functions.PingDelayDisconnect():
                if isinstance(query, raw.functions.PingDelayDisconnect):
                    self._connection.idle_seconds = float(max(1, query.disconnect_delay))
                session.notify(raw.types.Pong(msg_id=msg_id, ping_id=query.ping_id).write())
            case raw.functions.GetFutureSalts():
                salts = self._dc.sessions.future_salts(session.authorization.key_id, query.num)
                session.notify(FutureSalts(msg_id, int(self._dc.clock.now()), salts).write())
            case raw.types.MsgsStateReq():
                info = "".join(chr(session.state_of(asked)) for asked in query.msg_ids)
                session.notify(raw.types.MsgsStateInfo(req_msg_id=msg_id, info=info).write())
            case raw.types.MsgResendReq():
                session.resend(query.msg_ids)
            case raw.functions.DestroySession():
                session.answer(tl.rpc_result(msg_id, self._destroy(query.session_id)))
            case raw.functions.RpcDropAnswer():
                session.answer(tl.rpc_result(msg_id, raw.types.RpcAnswerUnknown()))
            case raw.types.HttpWait() | raw.types.MsgsStateInfo() | raw.types.MsgsAllInfo():
                pass
            case _:
                dispatch.call(self._dc, self._connection, session, msg_id, query)

    def _destroy(self, session_id: int) -> TLObject[Any]:
        name = session_id.to_bytes(8, "little", signed=True)
        if name != self._session.id and self._dc.sessions.destroy(self._session.authorization, name):
            return raw.types.DestroySessionOk(session_id=session_id)
        return raw.types.DestroySessionNone(session_id=session_id)


def _complaint(msg_id: int, now: float) -> int:
    """The error code of bad_msg_notification that a msg_id deserves, or 0."""
    age = now - (msg_id >> 32)
    if msg_id % 4:
        return NOT_A_CLIENTS
    if age > _PAST_SECONDS:
        return TOO_LOW
    return TOO_HIGH if age < -_FUTURE_SECONDS else 0


def _parity(query: TLObject[Any], seq_no: int) -> int:
    """The error code that a seq_no deserves, or 0: odd for what is to be acknowledged, even for what is not."""
    if isinstance(query, _EITHER):
        return 0
    even = isinstance(query, _SILENT)
    return 0 if even is (seq_no % 2 == 0) else EVEN_EXPECTED if even else ODD_EXPECTED


def _contents(container: Message, body: bytes) -> Iterator[Message]:
    count, offset = int.from_bytes(body[4:8], "little"), 8
    if count > _CONTAINER_LIMIT:
        raise ProtocolViolation(f"container of {count} messages")
    for _ in range(count):
        head = body[offset : offset + 16]
        length = int.from_bytes(head[12:16], "little")
        content = body[offset + 16 : offset + 16 + length]
        if len(head) < 16 or len(content) < length:
            raise ProtocolViolation("container is cut short")
        offset += 16 + length
        yield Message(
            container.salt,
            container.session_id,
            int.from_bytes(head[:8], "little"),
            int.from_bytes(head[8:12], "little"),
            content,
        )
