"""An MTProto session as the server keeps it: https://core.telegram.org/mtproto/description#session."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from teletrunk_sandbox.envelope import Message
from teletrunk_sandbox.state import Authorization

RESEND_LIMIT = 512
RESEND_SECONDS = 240.0  # a client drops what is more than 300 s old
_SEEN_LIMIT = 2048

Transmit = Callable[[Message], None]


@dataclass(slots=True)
class Session:
    """One session of an authorization; it outlives its connections.

    Content that was sent and that the client has not acknowledged is sent again, under the same msg_id,
    when the client comes back. So are answers that were made meanwhile. Updates are not: nobody was there.
    """

    authorization: Authorization
    id: bytes
    salt: Callable[[], int]
    clock: Callable[[], float]
    transmit: Transmit | None = None
    announced: bool = False
    wants_updates: bool = True
    last_active: float = field(default_factory=time.monotonic)
    _last_msg_id: int = 0
    _content_sent: int = 0
    _unacknowledged: dict[int, tuple[float, Message]] = field(default_factory=dict)
    _seen: deque[int] = field(default_factory=lambda: deque(maxlen=_SEEN_LIMIT))

    def attach(self, transmit: Transmit) -> None:
        """Send over this connection from now on, first what the client may have missed."""
        self.transmit = transmit
        for _, message in self._still_due():
            transmit(message)

    def detach(self, transmit: Transmit) -> None:
        """The connection is gone, unless the session already has another."""
        if self.transmit == transmit:
            self.transmit = None
            self.last_active = time.monotonic()

    def answer(self, body: bytes) -> None:
        """Send the answer to a request."""
        self._send_content(body, kind=1)

    def push(self, body: bytes) -> None:
        """Send what the client did not ask for, if it is there."""
        if self.transmit:
            self._send_content(body, kind=3)

    def notify(self, body: bytes) -> None:
        """Send a service message that needs no acknowledgement."""
        message = self._message(body, kind=1, seq_no=self._content_sent * 2)
        if self.transmit:
            self.transmit(message)

    def acknowledge(self, msg_ids: Iterable[int]) -> None:
        """The client has these."""
        for msg_id in msg_ids:
            self._unacknowledged.pop(msg_id, None)

    def resend(self, msg_ids: Iterable[int]) -> None:
        """Send the named messages again, as far as they are kept."""
        for msg_id in msg_ids:
            if self.transmit and msg_id in self._unacknowledged:
                self.transmit(self._unacknowledged[msg_id][1])

    def first_seen(self, msg_id: int) -> bool:
        """Whether a message is new; a repeated one must not be carried out twice."""
        if msg_id in self._seen:
            return False
        self._seen.append(msg_id)
        return True

    def state_of(self, msg_id: int) -> int:
        """`msgs_state_info` of one message: 4 received, 2 never seen."""
        return 4 if msg_id in self._seen else 2

    def _send_content(self, body: bytes, kind: int) -> None:
        message = self._message(body, kind, seq_no=self._content_sent * 2 + 1)
        self._content_sent += 1
        self._unacknowledged[message.msg_id] = (time.monotonic(), message)
        if len(self._unacknowledged) > RESEND_LIMIT:
            del self._unacknowledged[next(iter(self._unacknowledged))]
        if self.transmit:
            self.transmit(message)

    def _message(self, body: bytes, kind: int, seq_no: int) -> Message:
        # The two lowest bits tell an answer (1) from a message of the server's own (3).
        now = int(self.clock() * (1 << 32)) & ~3
        self._last_msg_id = max(now, (self._last_msg_id & ~3) + 4) | kind
        return Message(self.salt(), self.id, self._last_msg_id, seq_no, body)

    def _still_due(self) -> list[tuple[float, Message]]:
        oldest = time.monotonic() - RESEND_SECONDS
        self._unacknowledged = {msg_id: kept for msg_id, kept in self._unacknowledged.items() if kept[0] > oldest}
        return list(self._unacknowledged.values())
