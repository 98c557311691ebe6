"""Commands and events between the Worker's control process and its hosts.

A UNIX socket pair of whole packets (SOCK_SEQPACKET): each packet is one JSON object, and a packet may bring
one open descriptor along (a call's rings). Nothing is framed, nothing is half read, and the end of the socket
is the end of the peer.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

Message = dict[str, Any]
_LARGEST_PACKET = 65_536


class PeerGone(ConnectionError):
    """The process at the other end has closed the wire, or does not read it any more."""


class Wire:
    """One end of the socket pair. All calls are non-blocking."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end

    @classmethod
    def pair(cls) -> tuple[Wire, socket.socket]:
        """Our end, and the end that a child inherits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.set_inheritable(True)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, descriptor: int) -> Wire:
        return cls(socket.socket(fileno=descriptor))

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Raises `PeerGone` when the peer is dead, or so far behind that its buffer is full."""
        packet = json.dumps(message, separators=(",", ":")).encode()
        try:
            if descriptor is None:
                self.socket.send(packet)
            else:
                socket.send_fds(self.socket, [packet], [descriptor])
        except OSError as error:
            raise PeerGone(str(error)) from None

    def receive(self) -> tuple[Message, int | None] | None:
        """The next message and the descriptor that came with it, or None when there is none yet."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self.socket, _LARGEST_PACKET, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGone(str(error)) from None
        if not packet:
            raise PeerGone("closed")
        for surplus in descriptors[1:]:
            os.close(surplus)
        return json.loads(packet), descriptors[0] if descriptors else None

    def close(self) -> None:
        self.socket.close()
