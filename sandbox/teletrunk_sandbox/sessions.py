"""All sessions of the data centre, and which connections are live."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from functools import partial

from pyrogram.raw.core import FutureSalt

from teletrunk_sandbox.clock import Clock
from teletrunk_sandbox.connection import Connection
from teletrunk_sandbox.session import Session
from teletrunk_sandbox.state import Authorization, State

SALT_SECONDS = 1800
_FORGET_AFTER = 600.0


class Sessions:
    """Sessions by auth key and id, and the watch over auth keys in use twice at once.

    The real Telegram destroys a key that is used from two places (AUTH_KEY_DUPLICATED); here each
    overlap is only counted, so that a test can prove that there was none.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._sessions: dict[tuple[bytes, bytes], Session] = {}
        self._live: dict[Connection, Session] = {}
        self.duplicates = 0

    def open(self, authorization: Authorization, session_id: bytes, connection: Connection) -> Session:
        """The session that a connection's message belongs to, attached to that connection."""
        key = (authorization.key_id, session_id)
        session = self._sessions.get(key)
        if session is None:
            self._forget_idle(authorization)
            session = Session(authorization, session_id, partial(self.salt, authorization.key_id), self._clock.now)
            self._sessions[key] = session
        if self._live.get(connection) is not session:
            self._live[connection] = session
            self._count_overlaps(session)
            session.attach(connection.transmit)
        return session

    def release(self, connection: Connection) -> None:
        """A connection has ended."""
        session = self._live.pop(connection, None)
        if session:
            session.detach(connection.transmit)

    def forget_all(self) -> None:
        """Forget every session; connections that are open are to be closed."""
        self._sessions.clear()

    def destroy(self, authorization: Authorization, session_id: bytes) -> bool:
        """Forget one session."""
        return self._sessions.pop((authorization.key_id, session_id), None) is not None

    def of(self, authorizations: Iterable[Authorization]) -> list[Session]:
        """The sessions of some auth keys."""
        keys = {authorization.key_id for authorization in authorizations}
        return [session for session in self._sessions.values() if session.authorization.key_id in keys]

    def connections(self, authorizations: Iterable[Authorization]) -> list[tuple[Connection, Session]]:
        """The live connections of some auth keys."""
        keys = {authorization.key_id for authorization in authorizations}
        return [
            (connection, session) for connection, session in self._live.items() if session.authorization.key_id in keys
        ]

    def each_connection(self, act: Callable[[Connection], None]) -> None:
        """Do something with every live connection."""
        for connection in list(self._live):
            act(connection)

    def salt(self, key_id: bytes, ahead: int = 0) -> int:
        """The salt of the current half hour, or of one `ahead`; the same after a restart."""
        window = int(time.time()) // SALT_SECONDS + ahead
        digest = hmac.digest(self._state.secret, key_id + window.to_bytes(8, "big"), hashlib.sha256)
        return int.from_bytes(digest[:8], "little", signed=True)

    def accepts_salt(self, key_id: bytes, salt: int) -> bool:
        """The previous window's salt is still good."""
        return salt in (self.salt(key_id), self.salt(key_id, -1))

    def future_salts(self, key_id: bytes, count: int) -> list[FutureSalt]:
        """The salts from now on."""
        start = int(time.time()) // SALT_SECONDS * SALT_SECONDS
        return [
            FutureSalt(start + ahead * SALT_SECONDS, start + (ahead + 2) * SALT_SECONDS, self.salt(key_id, ahead))
            for ahead in range(max(1, min(count, 64)))
        ]

    def _count_overlaps(self, session: Session) -> None:
        for connection, other in self._live.items():
            same_key = other.authorization is session.authorization
            if other is not session and same_key and not connection.has_ended():
                self.duplicates += 1

    def _forget_idle(self, authorization: Authorization) -> None:
        # A client that opens a new session has no use for the old ones that it left.
        oldest = time.monotonic() - _FORGET_AFTER
        for key, session in list(self._sessions.items()):
            left = session.transmit is None
            if left and (session.authorization is authorization or session.last_active < oldest):
                del self._sessions[key]
