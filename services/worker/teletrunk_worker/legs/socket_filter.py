"""Which sources the kernel lets through to one of this process's UDP sockets (classic BPF, socket(7)).

pjmedia owns its sockets, and the stock wheel cannot be told whom to believe: so they are found among this process's
descriptors by their port. A filter, unlike connect(2), changes nothing for what is sent, and may name several
addresses with any port while the peer's is not known yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import socket
import struct
from collections.abc import Sequence
from typing import Final

Instruction = tuple[int, int, int, int]  # code, places to jump when true and when false, operand

_SO_ATTACH_FILTER: Final = 26
_MOST_DESCRIPTORS = 1024  # FD_SETSIZE: pjlib waits by select(2)
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND = 0x20, 0x28, 0x30, 0x54
_JUMP_IF_EQUAL, _JUMP_IF_GREATER, _RETURN = 0x15, 0x25, 6
_SOURCE_ADDRESS = 0xFFF00000 + 12  # SKF_NET_OFF: in the IPv4 header
_SOURCE_PORT = 0  # a filter of a UDP socket sees its header first
_PAYLOAD_TYPE = 8 + 1  # behind the UDP header, with the marker in its highest bit (RFC 3550 5.1)
_LAST_STATIC = 34  # of those that RFC 3551 gives to codecs; larger ones are telephone-event, keep-alives, RTCP
_COMFORT_NOISE: Final = (13, 19)
_ALL, _NOTHING = (_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)


def only_from(addresses: Sequence[str], port: int | None = None, payload_type: int | None = None) -> list[Instruction]:
    """Passes what these IPv4 addresses send, from that port if one is given; nothing when there are none.

    With a payload type nothing that is of another codec, which nobody would decode.
    """
    accept: list[Instruction] = [_ALL]
    if payload_type is not None:
        accept = [
            (_LOAD_BYTE, 0, 0, _PAYLOAD_TYPE),
            (_AND, 0, 0, 0x7F),
            (_JUMP_IF_GREATER, 4, 0, _LAST_STATIC),
            *((_JUMP_IF_EQUAL, 3 - n, 0, passed) for n, passed in enumerate((payload_type, *_COMFORT_NOISE))),
            _NOTHING,
            _ALL,
        ]
    if port is not None:
        accept = [(_LOAD_HALF, 0, 0, _SOURCE_PORT), (_JUMP_IF_EQUAL, 1, 0, port), _NOTHING, *accept]
    compare: list[Instruction] = [
        (_JUMP_IF_EQUAL, len(addresses) - number, 0, int.from_bytes(socket.inet_aton(address)))
        for number, address in enumerate(addresses)
    ]
    return [(_LOAD_WORD, 0, 0, _SOURCE_ADDRESS), *compare, _NOTHING, *accept]


def attach(end: socket.socket, program: Sequence[Instruction]) -> None:
    """In place of the filter that it had. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))


def drain(end: socket.socket) -> None:
    """Forgets what has come before the filter."""
    with contextlib.suppress(BlockingIOError):
        while True:
            end.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC)


def udp_sockets(ports: range) -> dict[int, int]:
    """This process's IPv4 sockets on ports of that range: descriptor by port."""
    found = {}
    for descriptor in range(min(_MOST_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0])):
        with contextlib.suppress(OSError), borrowed(descriptor) as end:
            if end.family == socket.AF_INET and end.type == socket.SOCK_DGRAM and end.getsockname()[1] in ports:
                found[end.getsockname()[1]] = descriptor
    return found


class borrowed:
    """A socket object on a descriptor that stays somebody else's. Raises OSError when it is none."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()
