"""Requests to Telegram by one client: sent once, with a deadline, and given up when the link goes down."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from pyrogram import raw
from pyrogram.errors import RPCError

from teletrunk_session_store.telegram.kurigram import TelegramClient, checked
from teletrunk_session_store.telegram.lease import SILENCE_S

CONNECT_DEADLINE_S: Final = 20.0
LINK_CHECK_S: Final = 0.25
_RPC_DEADLINE_S = 10.0
_LIBRARY_S = _RPC_DEADLINE_S + 1.0  # after ours, so that its TimeoutError says something else


def send(client: TelegramClient, query: Any, seconds: float) -> asyncio.Task[Any]:
    """Sends a request once. kurigram's own `invoke` repeats what Telegram answers with 500, and waits for lost links.

    `seconds` are more than the asker waits. Raises OSError when the link is down.
    """
    if not client.is_linked():
        raise ConnectionError("the link to Telegram is down")
    return asyncio.ensure_future(client.session.send(query, timeout=seconds))


async def asked(client: TelegramClient, query: Any) -> Any:
    """The answer to a request that nobody waits for any longer than its asker."""
    sending = send(client, query, _LIBRARY_S)
    try:
        return await answered(client, sending)
    finally:
        sending.cancel()


async def answered(client: TelegramClient, sending: asyncio.Task[Any]) -> Any:
    """Raises what Telegram says, TimeoutError, and OSError when the link goes down meanwhile."""
    async with asyncio.timeout(_RPC_DEADLINE_S):
        while not sending.done():
            await asyncio.wait({sending}, timeout=LINK_CHECK_S)
            if not client.is_linked() and not sending.done():
                raise ConnectionError("the link to Telegram broke")
    try:
        return checked(client, sending.result())
    except TimeoutError:  # kurigram ends what waits by this, too, when it stops: Telegram was not slow
        raise ConnectionError("the client was stopped") from None


async def limit_silence(client: TelegramClient) -> None:
    """Telegram shall close the connection soon when we fall silent: see `lease`. kurigram's own pings say the same."""
    with contextlib.suppress(OSError, TimeoutError, RPCError):  # then the connection is gone already
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await client.session.is_started.wait()
            client.session.WAIT_TIMEOUT = SILENCE_S - 10  # to which it adds 10 s in its pings
            await client.session.send(
                raw.functions.PingDelayDisconnect(ping_id=0, disconnect_delay=SILENCE_S), wait_response=False
            )
