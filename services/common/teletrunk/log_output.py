"""Where a service's lines go: to standard error, or to a file that rotates. A line that cannot be written is lost, and
nothing else is.

Descriptors 1 and 2 become the writing end of a pipe that never waits, and a thread carries what comes out of it to its
place. A disk that is full or a reader that stopped then holds up nobody: not the event loop, not native code that
prints, not the child processes, which inherit the descriptors.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from teletrunk.metrics import LOG_LINES_LOST

FILE_BYTES: Final = 10 << 20
FILES: Final = 5
_PIPE_BYTES = 1 << 20  # what waits for a slow reader; the most that a kernel gives without being asked for more
_CHUNK_BYTES = 64 << 10
_LAST_LINES_S = 1.0


class _Place(Protocol):
    def write(self, lines: bytes) -> None:
        """May wait. Raises OSError."""
        ...


class LogOutput:
    """The descriptors 1 and 2 of this process, from `take_over` to its end."""

    def __init__(self, descriptors: tuple[int, ...]) -> None:
        self._descriptors = descriptors
        self._original = _duplicate(2)
        self._place: _Place = _Descriptor(self._original)
        self._untold = 0
        self._counting = threading.Lock()
        self._cut = False  # what was written last may have ended within a line
        self._own = structlog.wrap_logger(_Straight(self._put))
        self._pipe, entrance = os.pipe()
        with contextlib.suppress(OSError):  # this user has many large pipes already
            fcntl.fcntl(entrance, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(entrance, False)
        for descriptor in descriptors:
            os.dup2(entrance, descriptor)
        os.close(entrance)
        self._thread = threading.Thread(target=self._carry, name="log output", daemon=True)

    @classmethod
    def take_over(cls, *, stdout: bool = True) -> LogOutput:
        """From now on all that this process and its children print takes this way; its end waits a moment for it."""
        output = cls((1, 2) if stdout else (2,))
        sys.stderr = NeverWaiting(output.lost, is_terminal=os.isatty(output._original))
        if stdout:
            sys.stdout = sys.stderr
        output._thread.start()
        atexit.register(output.end)
        return output

    def write_to(self, file: Path) -> None:
        """Into this file, from the next lines on; it is this process's alone."""
        self._place = RotatingFile(file)

    def lost(self, lines: int) -> None:
        LOG_LINES_LOST.inc(lines)
        with self._counting:
            self._untold += lines

    def end(self) -> None:
        """What still waits is written, unless that takes too long; what comes after is thrown away."""
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._descriptors:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        self._thread.join(_LAST_LINES_S)

    def _carry(self) -> None:
        begun = b""
        while chunk := os.read(self._pipe, _CHUNK_BYTES):
            lines, end, begun = (begun + chunk).rpartition(b"\n")
            if len(begun) > _CHUNK_BYTES:
                lines, end, begun = lines + end + begun, b"\n", b""
            self._try(lines + end)
        self._try(begun)

    def _try(self, lines: bytes) -> None:
        try:
            self._put(lines)
        except OSError:
            self.lost(lines.count(b"\n"))
        else:
            self._tell_what_was_lost()

    def _put(self, lines: bytes) -> None:
        if lines:
            cut, self._cut = self._cut, True
            self._place.write(b"\n" + lines if cut else lines)
            self._cut = False

    def _tell_what_was_lost(self) -> None:
        """Straight to its place: the pipe may be full again."""
        with self._counting:
            count, self._untold = self._untold, 0
        if count:
            try:
                self._own.warning(f"{count} log lines were lost", count=count)
            except OSError:
                with self._counting:
                    self._untold += count


class _Straight:
    """What structlog writes a finished line with."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put

    def warning(self, line: str) -> None:
        self._put(f"{line}\n".encode())


class NeverWaiting(io.TextIOBase):
    """Standard error as Python code has it: writing neither waits nor raises.

    A line is written when it is whole (`print` gives its end apart), so that it is shown or lost, never both.
    """

    encoding = "utf-8"

    def __init__(self, lost: Callable[[int], None], *, is_terminal: bool) -> None:
        self._lost = lost
        self._is_terminal = is_terminal
        self._writing = threading.RLock()  # a signal's handler may print within a print
        self._begun = ""
        self._cut = False

    def write(self, text: str) -> int:
        with self._writing:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            self._send(lines + end)
            if len(self._begun) > _CHUNK_BYTES:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self._writing:
            begun, self._begun = self._begun, ""
            self._send(begun)

    def _send(self, text: str) -> None:
        if not text:
            return
        data = b"\n" * self._cut + text.encode(errors="backslashreplace")
        try:
            done = os.write(2, data)
        except OSError:
            self._lost(text.count("\n"))
            return
        if done < len(data):  # only a long text is taken in part
            self._lost(max(data[done:].count(b"\n"), 1))
        self._cut = done < len(data)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return 2


class _Descriptor:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, lines: bytes) -> None:
        while lines:
            try:
                lines = lines[os.write(self._descriptor, lines) :]
            except BlockingIOError:  # whoever else has this pipe or terminal made it so
                select.select([], [self._descriptor], [])


class RotatingFile:
    """FILE, FILE.1, FILE.2...: the newest lines in the first, and no more than `files` of about `file_bytes` each."""

    def __init__(self, path: Path, file_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._files = files
        self._descriptor: int | None = None

    def write(self, lines: bytes) -> None:
        if 0 < self._file_bytes - len(lines) < self._opened():
            self._rotate()
        self._opened()
        assert self._descriptor is not None
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]

    def _opened(self) -> int:
        """The size of the file, which is open then."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._files))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            with contextlib.suppress(OSError):  # a file that cannot be renamed grows; that is better than no lines
                newer.rename(older)


def _duplicate(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:  # started without it
        return os.open(os.devnull, os.O_WRONLY)
