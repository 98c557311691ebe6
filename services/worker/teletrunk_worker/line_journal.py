"""A file of lines: each change adds one that says all about one thing, of which the last one counts.

So a change costs what changed, and a line that cannot be read loses one thing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()

_AGAIN_S = 5.0  # after a write that failed
_GATHERING_S = 0.2  # a thousand changes in a second are not a thousand writes
_MOST_BYTES = 16_000_000
_LONGEST_LINE = 1_000_000  # none of ours is longer


class LineJournal:
    """Writing happens in a thread: the event loop goes on meanwhile."""

    def __init__(
        self,
        path: Path,
        what: str,
        line: Callable[[str], str],
        live: Callable[[], Iterable[str]],
        most_lines: int,
    ) -> None:
        """`line` says how the thing of a key stands, `live` are the keys of all that there is.

        `what` the log calls them; beyond `most_lines`, or 16 MB, the file is written afresh.
        """
        self._path = path
        self._what = what
        self._line = line
        self._live = live
        self._least_most = self._most_lines = most_lines
        self._changed: set[str] = set()
        self._due: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[bool] | None = None
        self._lines = self._bytes = 0
        self._most_bytes = _MOST_BYTES

    def read(self) -> Iterator[str]:
        """What a process before this one has left, the oldest line first, a line at a time: most are of the past."""
        try:
            with self._path.open(errors="replace") as file:
                while line := file.readline(_LONGEST_LINE):
                    self._lines += 1
                    self._bytes += len(line)
                    yield line.rstrip("\n")
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(f"{self._what} of the process before cannot be read", error=str(error))

    def note(self, key: str) -> None:
        """It has changed: that will be written very soon."""
        self._changed.add(key)
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_GATHERING_S, self._begin)

    async def close(self) -> None:
        """Writes what has changed last."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._write(*self._next())

    def _begin(self) -> None:
        if self._writing is not None and not self._writing.done():  # a slow disk: once more, later
            self._due = asyncio.get_running_loop().call_later(_GATHERING_S, self._begin)
            return
        self._due = None
        keys, loop = frozenset(self._changed), asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, *self._next())
        self._writing.add_done_callback(lambda writing: self._written(keys, writing.result()))

    def _written(self, keys: frozenset[str], succeeded: bool) -> None:
        """What a full disk has refused is written when it can be: else what has ended would be back one day."""
        if not succeeded:
            self._changed |= keys
            self._lines = self._most_lines  # afresh: who knows what is in the file
            self._due = self._due or asyncio.get_running_loop().call_later(_AGAIN_S, self._begin)

    def _next(self) -> tuple[list[str], bool]:
        """The lines to write, and whether they are all that there is."""
        # Also when nothing is left: what has ended is then kept nowhere, whoever it was.
        full = self._lines + len(self._changed) > self._most_lines or self._bytes > self._most_bytes
        afresh = full or not any(True for _ in self._live())
        keys = sorted(self._live() if afresh else self._changed)
        lines = [line for key in keys if (line := self._line_of(key))]
        if afresh:
            self._lines = self._bytes = 0
        self._lines += len(lines)
        self._bytes += sum(map(len, lines))
        if afresh:
            self._most_lines = max(self._least_most, 2 * len(lines))
            self._most_bytes = max(_MOST_BYTES, 2 * self._bytes)
        self._changed.clear()
        return lines, afresh

    def _line_of(self, key: str) -> str:
        """Empty when it cannot be written down: that is one thing, and the others are."""
        try:
            return f"{self._line(key)}\n"
        except Exception:
            log.exception("one of these cannot be kept", what=self._what)
            return ""

    def _write(self, lines: list[str], afresh: bool) -> bool:
        """False when the disk has refused."""
        try:
            if afresh:
                fresh = self._path.with_suffix(".new")
                fresh.write_text("".join(lines))
                fresh.replace(self._path)
            elif lines:
                _append(self._path, "".join(lines))
        except OSError as error:
            log.warning(f"{self._what} cannot be kept", error=str(error))
            return False
        return True


def _append(path: Path, text: str) -> None:
    """A line that a full disk has cut is closed first."""
    with path.open("ab") as file:  # flushed, and its errors raised, at the latest at its end
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")
        file.write(text.encode())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
