"""kurigram's client with its faults mended. What knows the library's insides is here, and nowhere else.

Three of its habits do not serve a gateway: a `bad_msg_notification` is returned as if it were the answer; an error
that its table does not know is appended to a file in the working directory; and updates go through a database, a queue
and parsers that ask Telegram further questions, without the counts that show when one is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

import pyrogram
from pyrogram import raw
from pyrogram.errors import RPCError

_CLOSE_S = 2.0  # of a connection, when the lease may be over in five
_TERMINATE_S = 5.0
_SILENT_S = 11.0  # two pings
_TELLING_S = 10.0  # a clock that is wrong by less explains nothing
_TOO_EARLY, _TOO_LATE = 16, 17


class BadMessage(ConnectionError):
    """Telegram refuses our messages as such (bad_msg_notification), nearly always for the time that they bear.

    `ahead` is how far this machine's clock is before Telegram's, in seconds.
    """

    def __init__(self, code: int, ahead: float) -> None:
        self.ahead = ahead
        about_time = code in (_TOO_EARLY, _TOO_LATE)
        super().__init__(
            about_clock(ahead) or f"Telegram refuses our messages{' for their time' * about_time} (code {code})"
        )


class UnexpectedAnswer(Exception):
    """An answer of another constructor than the method promises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        super().__init__(named(answer))


class TelegramClient(pyrogram.Client):  # type: ignore[misc]  # kurigram carries no types
    """A client that raises what went wrong, and hands on updates as they come."""

    def __init__(self, *args: Any, connect: Callable[..., Any], clock_ahead: float, **options: Any) -> None:
        """`connect` makes its connections; its first messages bear a time that is right for `clock_ahead`."""
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        super().__init__(*args, connection_factory=self._connection, **options)
        self._connect = connect
        self._server_time_offset = -clock_ahead
        self._heard_at = time.monotonic()
        self.on_updates: Callable[[Any], None] = lambda updates: None

    async def handle_updates(self, updates: Any) -> None:
        """In place of the library's own: each `Updates` whole, in the order in which they came."""
        self.on_updates(updates)

    def _connection(self, **options: Any) -> Any:
        made = self._connect(**options)
        self._connections.add(made)
        receive, before = made.recv, self.session.msg_factory._last_msg_id if self.session else 0

        async def recv() -> bytes | None:
            packet: bytes | None = await receive()
            self._heard_at = time.monotonic()
            if packet is None:
                self._end_start(before)
            return packet

        made.recv = recv
        return made

    def _end_start(self, before: int) -> None:
        """A connection that ends while a session starts over it answers nothing: to wait for that costs two seconds.

        Requests older than the connection go on: their answers come over the next one.
        """
        if self.session is None or self.session.is_started.is_set():
            return
        for msg_id, result in self.session.results.items():
            if msg_id > before:
                result.event.set()

    async def invoke(self, query: Any, *args: Any, **options: Any) -> Any:
        answer = checked(self, await super().invoke(query, *args, **options))
        if isinstance(query, raw.functions.auth.SendCode) and not isinstance(answer, raw.types.auth.SentCode):
            raise UnexpectedAnswer(answer)  # the library would look for what only that one has
        return answer

    @property
    def clock_ahead(self) -> float:
        """By how much this machine's clock is before Telegram's, as far as its messages have told."""
        return -float(self._server_time_offset)

    def is_linked(self) -> bool:
        return self.session is not None and self.session.is_started.is_set()

    def is_silent(self) -> bool:
        """Whether Telegram answers not even the library's pings: a link can die without a word."""
        return self.is_linked() and time.monotonic() - self._heard_at > _SILENT_S

    def abort(self) -> None:
        """Breaks its connections, also those of a session that has not come up yet."""
        for connection in list(self._connections):
            with contextlib.suppress(Exception):  # there may be no socket, and it may be closed
                connection.protocol.writer.transport.abort()


async def move(client: TelegramClient, dc_id: int) -> None:
    """Goes to another data centre, with another key. As it was, when that fails."""
    there = await client.get_dc_option(dc_id, ipv6=client.ipv6)
    session = await client.get_session(
        dc_id=dc_id, server_address=there.ip_address, port=there.port, export_authorization=False, temporary=True
    )
    before, client.session = client.session, session
    await client.storage.dc_id(dc_id)
    await client.storage.server_address(there.ip_address)
    await client.storage.port(there.port)
    await client.storage.auth_key(session.auth_key)
    await before.stop()


def checked(client: TelegramClient, answer: Any) -> Any:
    """The answer of `session.send`. Raises `BadMessage`."""
    if isinstance(answer, raw.types.BadMsgNotification):
        newest = client.session.stored_msg_ids[-1]  # the notice's own id bears Telegram's time
        raise BadMessage(answer.error_code, time.time() - newest / 2**32)
    return answer


def key_is_unknown(client: TelegramClient) -> bool:
    """Telegram answered -404: the key is not there any more, and never comes back."""
    task = client.session.recv_task if client.session else None
    if task is None or not task.done() or task.cancelled():
        return False
    return type(task.exception()).__name__ == "AuthKeyNotFound"


async def close(client: TelegramClient) -> None:
    """Ends a client in whatever half-started state it is. Its connection goes first: another Storage may come soon."""
    with contextlib.suppress(Exception):  # it may be broken in any way: it is thrown away
        async with asyncio.timeout(_CLOSE_S):
            if client.session is not None:
                await client.session.stop()
    client.abort()
    await _end_restarts(client)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_TERMINATE_S):
            if client.is_connected:
                await client.disconnect()


async def _end_restarts(client: TelegramClient) -> None:
    """The library restarts a session in tasks that it keeps nowhere: they would go on when the storage is closed."""
    left = [task for task in asyncio.all_tasks() if _restarts(task.get_coro(), client)]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLOSE_S)
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # looked at: it is of no interest any more


def _restarts(coroutine: Any, client: TelegramClient) -> bool:
    frame = getattr(coroutine, "cr_frame", None)
    session = frame.f_locals.get("self") if frame is not None else None
    return getattr(coroutine, "__qualname__", "") == "Session.restart" and getattr(session, "client", None) is client


def about_clock(ahead: float) -> str:
    """What there is to say of this machine's clock; empty when it is good enough."""
    if abs(ahead) < _TELLING_S:
        return ""
    return f"this machine's clock is {round(abs(ahead))} s {'ahead of' if ahead > 0 else 'behind'} Telegram's"


def method_of(query: Any) -> str:
    """Telegram's own name of a method, or of another object: phone.requestCall."""
    *space, name = query.QUALNAME.split(".")[1:]
    return ".".join([*space, name[0].lower() + name[1:]])


def named(answer: Any) -> str:
    """Telegram's own name of an object, with the reason that it bears: phoneCallDiscarded (phoneCall...ReasonBusy)."""
    if not hasattr(answer, "QUALNAME"):
        return type(answer).__name__
    reason = getattr(answer, "reason", None)
    return f"{method_of(answer)} ({named(reason)})" if reason is not None else method_of(answer)


_initialise: Final = RPCError.__init__


def _without_a_file(
    self: RPCError, value: Any = None, rpc_name: str | None = None, is_unknown: bool = False, is_signed: bool = False
) -> None:
    """`is_unknown` has the library append to unknown_errors.txt, or fail with OSError where it cannot."""
    _initialise(self, value, rpc_name, False, is_signed)


RPCError.__init__ = _without_a_file
