"""Ports that are held, not guessed.

Who starts a server on a port of his choice must know the port before the server has it. To bind port 0, close it and
pass the number on is a guess: until the server binds it, the kernel may give it to any socket that asks for no port of
its own, and another test that guesses may be given it too. A port of this module is

- below the range from which the kernel gives ports unasked (`ip_local_port_range`), so that no client gets it,
- locked for this process against all others that ask here: byte N of one file stands for port N, and record locks end
  with the process, however it ends,
- free when it is given away, for TCP and for UDP: programs that never ask here may sit on some.

So two suites on one machine, and the workers of one, never share a port, and a server that is killed and started
again finds its port as it left it. Who binds port 0 and tells the port needs nothing of this.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_FIRST, _BEYOND = 10_000, 32_768  # what is used where the kernel's own range leaves too little below it
_LEAST = 4_000
_LOCKS = Path(tempfile.gettempdir()) / f"teletrunk-ports.{os.getuid()}"
_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def span() -> range:
    """Where held ports come from."""
    with contextlib.suppress(OSError, ValueError):
        lowest = int(_KERNEL.read_text().split()[0])
        if lowest - _FIRST >= _LEAST:
            return range(_FIRST, lowest)
    return range(_FIRST, _BEYOND)


class Book:
    """What this process holds. Record locks do not keep a process from itself, so it counts its own ports as well."""

    def __init__(self) -> None:
        self._span = span()
        # Each process begins somewhere else and goes on from there: a port rests before its number comes again.
        self.next = random.choice(self._span)
        self._mine: set[int] = set()
        self._guard = threading.Lock()
        self._file = os.open(_LOCKS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, count: int) -> int:
        with self._guard:
            for _ in self._span:
                first = self.next if count == 1 else self.next + self.next % 2
                if first + count > self._span.stop:
                    first = self._span.start
                wanted = range(first, first + count)
                self.next = first + 1
                if self._mine.isdisjoint(wanted) and self._lock(wanted):
                    if all(map(_is_free, wanted)):
                        self._mine.update(wanted)
                        self.next = wanted.stop
                        return first
                    self._unlock(wanted)
        raise RuntimeError(f"no {count} free ports in a row between {self._span.start} and {self._span.stop - 1}")

    def give_back(self, ports: range) -> None:
        with self._guard:
            self._mine.difference_update(ports)
            self._unlock(ports)

    def _lock(self, ports: range) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(ports), ports.start)
        except OSError:
            return False
        return True

    def _unlock(self, ports: range) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, len(ports), ports.start)


def _is_free(port: int) -> bool:
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ended connections do not count
        try:
            stream.bind(("", port))
            datagram.bind(("", port))
        except OSError:
            return False
    return True


@functools.cache
def book() -> Book:
    return Book()


def hold(count: int = 1) -> int:
    """The first of `count` ports in a row, held until this process ends; of several an even one, as RTP wants it.

    Raises RuntimeError when there are none.
    """
    return book().take(count)


@contextlib.contextmanager
def held(count: int = 1) -> Iterator[int]:
    """As `hold`, until the context ends."""
    first = hold(count)
    try:
        yield first
    finally:
        book().give_back(range(first, first + count))
