"""Makes Telegram clients: kurigram's, unmodified, pointed at Telegram or at another data centre."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from pyrogram.connection import Connection
from pyrogram.connection.proxy import normalize_proxy
from pyrogram.storage.storage import Storage as StoredSession
from teletrunk import __version__
from teletrunk.config import ConfigurationError

from teletrunk_session_store.config import StorageSettings
from teletrunk_session_store.telegram.addresses import Addresses, connection_by
from teletrunk_session_store.telegram.kurigram import BadMessage, TelegramClient

Guard = Callable[[], Awaitable[bool]]

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.8
_CALM_S = 5.0
_USER = 4  # its place in a session string


class Clients:
    """The settings that all clients of this process share."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._addresses = Addresses(settings.telegram_server)
        self._proxy = _proxy(settings)
        self._clock_ahead = 0.0
        if settings.telegram_server and settings.telegram_rsa_key_file:
            from teletrunk_session_store.telegram.trusted_key import trust_only

            trust_only(settings.telegram_rsa_key_file)

    def learn(self, error: BadMessage) -> None:
        """Telegram refused a client's messages for their time: the next clients go by Telegram's clock.

        That client itself is of no more use: its message ids only ever rise.
        """
        self._clock_ahead = error.ahead

    def make(self, name: str, session: str | None = None, may_connect: Guard | None = None) -> TelegramClient:
        """A client that is not connected yet. Nothing of it touches the disk.

        `may_connect` is asked before each connection, also those that the client makes by itself after a loss.
        """
        return TelegramClient(
            name,
            api_id=self._settings.telegram_api_id or 1,
            api_hash=self._settings.telegram_api_hash.get_secret_value() or "0" * 32,
            app_version=f"Teletrunk {__version__}",
            device_model="Teletrunk Session Storage",
            in_memory=True,
            session_string=session,
            proxy=self._proxy,
            sleep_threshold=0,  # FLOOD_WAIT is an answer for the caller, not a reason to sleep
            connect=connection_by(self._addresses, _guarded(may_connect) if may_connect else Connection),
            clock_ahead=self._clock_ahead,
        )


def user_of(session: str) -> int:
    """Whose session it is, by the session itself. Raises ValueError."""
    packed = base64.urlsafe_b64decode(session + "=" * (-len(session) % 4))
    try:
        return int(struct.unpack(StoredSession.SESSION_STRING_FORMAT, packed)[_USER])
    except struct.error as error:
        raise ValueError(str(error)) from None


def _guarded(may_connect: Guard) -> type[Connection]:
    pace = _Pace()

    class GuardedConnection(Connection):  # type: ignore[misc]  # kurigram carries no types
        async def connect(self) -> None:
            await pace.keep()
            if not await may_connect():
                raise OSError("another Storage has the session's lease")
            await super().connect()

    return GuardedConnection


class _Pace:
    """Of one client's connections: the first at once, more of them a second apart."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._last = -math.inf

    async def keep(self) -> None:
        calm = time.monotonic() - self._last > _CALM_S
        self._pause = 0.0 if calm else min(max(self._pause * 2, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        await asyncio.sleep(self._pause)
        self._last = time.monotonic()


def _proxy(settings: StorageSettings) -> Any:
    """Raises `ConfigurationError`, which does not show the password in it."""
    if settings.telegram_proxy is None:
        return None
    try:
        return _parsed(settings.telegram_proxy.get_secret_value())
    except ValueError:
        raise ConfigurationError(
            "TELETRUNK_TELEGRAM_PROXY: give socks5://USER:PASSWORD@HOST:PORT or the link of an MTProto proxy"
        ) from None


def _parsed(proxy: str) -> Any:
    """Raises ValueError. In the library's own reading of URLs a password with a colon is another one."""
    parts = urlsplit(proxy)
    if parts.scheme in ("tg", "https"):
        return normalize_proxy(proxy)
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    place = {"scheme": parts.scheme, "hostname": parts.hostname, "port": parts.port}
    return normalize_proxy({**place, "username": user, "password": password})
