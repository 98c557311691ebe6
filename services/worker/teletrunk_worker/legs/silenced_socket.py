"""A socket of pjmedia that sends nothing for a while, and still listens.

Without its input the stream sends silence, packet by packet, and the stock wheel does not show the stream, which
could be paused. So the kernel is told that more is to come in each datagram (UDP_CORK, udp(7)): it gathers what is
sent and, when that is more than a datagram holds, forgets it. The descriptor stays what it is: pjmedia asks it for
its address whenever the peer describes itself again, and pjlib aborts at a family that is none.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from teletrunk_worker.legs.socket_filter import borrowed

_UDP_CORK: Final = 1
_LARGEST = 65_507  # a datagram of IPv4
_NOBODY: Final = ("127.0.0.1", 9)
_TIMES = 4  # the thread of sound sends meanwhile


def silence(descriptor: int) -> None:
    """Takes effect at once."""
    with contextlib.suppress(OSError), borrowed(descriptor) as end:  # its owner may have closed it
        end.setsockopt(socket.IPPROTO_UDP, _UDP_CORK, 1)


def give_back(descriptor: int) -> None:
    """What was gathered is forgotten, and not sent in one."""
    with contextlib.suppress(OSError), borrowed(descriptor) as end:
        if not end.getsockopt(socket.IPPROTO_UDP, _UDP_CORK):
            return  # the number is another's by now
        for _ in range(_TIMES):
            try:
                end.sendto(bytes(_LARGEST), socket.MSG_DONTWAIT, _NOBODY)
            except OSError:  # it does not fit behind what there was: all of it is gone
                break
        end.setsockopt(socket.IPPROTO_UDP, _UDP_CORK, 0)
