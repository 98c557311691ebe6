"""A terminal of 80 columns, and somebody who types and reads in it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_SIZE = struct.pack("HHHH", 24, 80, 0, 0)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PATIENCE_S = 60.0
_STOPPED_S = 30.0


class Terminal:
    """One command in a terminal of its own, which it has as its controlling one: passwords are asked for there."""

    def __init__(
        self, command: str, directory: Path, environment: Mapping[str, str], inside: Sequence[str] = ()
    ) -> None:
        """`inside` is a command that goes before the shell's."""
        self._command = command
        self._shown = ""
        self._more = asyncio.Event()
        self._over = False
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            shell = [*inside, "bash", "-c", command]
            os.execvpe(shell[0], shell, {**environment, "TERM": "xterm-256color"})
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, _SIZE)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        if not data:
            self._over = True
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._shown += data.decode(errors="replace")
        self._more.set()

    @property
    def text(self) -> str:
        """What is on it, without colours and a terminal's line ends."""
        return _COLOURS.sub("", self._shown).replace("\r", "")

    @property
    def raw(self) -> str:
        """As it came, with its colours."""
        return self._shown

    async def until(self, pattern: str, patience: float = _PATIENCE_S) -> re.Match[str]:
        """Reads on until it says this."""
        try:
            async with asyncio.timeout(patience):
                while (found := re.search(pattern, self.text)) is None and not self._over:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            found = None
        assert found is not None, f"`{self._command}` did not say {pattern!r}, but:\n{self.text}"
        return found

    def type(self, line: str) -> None:
        os.write(self._descriptor, f"{line}\n".encode())

    async def ended(self, patience: float = _PATIENCE_S) -> int:
        """Its exit code."""
        async with asyncio.timeout(patience):
            while (status := os.waitpid(self._pid, os.WNOHANG)) == (0, 0):
                await asyncio.sleep(0.02)
        self._read_the_rest()
        return os.waitstatus_to_exitcode(status[1])

    def _read_the_rest(self) -> None:
        """What it has said in its last moment."""
        while not self._over:
            self._read()

    async def interrupt(self) -> int:
        """Ctrl-C."""
        os.write(self._descriptor, b"\x03")
        try:
            return await self.ended(_STOPPED_S)
        except TimeoutError:
            os.killpg(self._pid, signal.SIGKILL)
            raise
