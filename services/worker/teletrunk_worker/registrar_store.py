"""Bindings on disk: a PBX that registered need not do so again because this process was replaced.

A journal: each change adds a line with all bindings of one trunk, of which the last one counts. So a change costs
what changed, and a line that cannot be read loses one trunk. A binding over TCP ends with its connection, so only
those over UDP are kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from teletrunk_worker.sip.registrar import LONGEST_S, Binding, Registrar
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.sip.uri import parse_name_addr

log = structlog.get_logger()

_AGAIN_S = 5.0  # after a write that failed
_GATHERING_S = 0.2  # a thousand registrations in a second are not a thousand writes
MOST_LINES: Final = 10_000  # before the file is written afresh
_TEXTS = ("binding", "trunk", "login", "contact", "flow", "call_id")


class RegistrarStore:
    """`path` is the journal. Writing happens in a thread: the port answers meanwhile."""

    def __init__(self, path: Path, registrar: Registrar) -> None:
        self._path = path
        self._registrar = registrar
        self._changed: set[str] = set()
        self._due: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[bool] | None = None
        self._lines = 0
        self._most_lines = MOST_LINES

    def load(self, flow_of: Callable[[str], Flow | None]) -> None:
        """Takes over what is still valid. What cannot be read is only a reason to register again."""
        try:
            text = self._path.read_text(errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("bindings cannot be read: PBXs must register again", error=str(error))
            return
        trunks: dict[str, list[Any]] = {}
        for line in text.splitlines():
            self._lines += 1
            trunks.update(_trunk(line))
        live = [binding for rows in trunks.values() for row in rows if (binding := _live(row, flow_of)) is not None]
        self._registrar.restore(live)
        log.info("bindings restored", count=len(live))

    def note(self, trunk_id: str) -> None:
        """The trunk's bindings have changed: that will be written very soon."""
        self._changed.add(trunk_id)
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
        trunks, loop = frozenset(self._changed), asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, *self._next())
        self._writing.add_done_callback(lambda writing: self._written(trunks, writing.result()))

    def _written(self, trunks: frozenset[str], succeeded: bool) -> None:
        """What a full disk has refused is written when it can be: else ended bindings would be back one day."""
        if not succeeded:
            self._changed |= trunks
            self._lines = self._most_lines  # afresh: who knows what is in the file
            self._due = self._due or asyncio.get_running_loop().call_later(_AGAIN_S, self._begin)

    def _next(self) -> tuple[list[str], bool]:
        """The lines to write, and whether they are all that there is."""
        afresh = self._lines + len(self._changed) > self._most_lines
        trunks = self._registrar.trunks() if afresh else sorted(self._changed)
        self._most_lines = max(MOST_LINES, 2 * len(trunks)) if afresh else self._most_lines
        self._changed.clear()
        lines = [_line(trunk_id, self._registrar.bindings(trunk_id)) for trunk_id in trunks]
        self._lines = len(lines) + (0 if afresh else self._lines)
        return lines, afresh

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
            log.warning("bindings cannot be kept", error=str(error))
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


def _line(trunk_id: str, bindings: Iterable[Binding]) -> str:
    rows = [_row(binding) for binding in bindings if not binding.of_ours and binding.flow.token.startswith("u-")]
    return json.dumps({"trunk": trunk_id, "bindings": rows}) + "\n"


def _trunk(line: str) -> dict[str, list[Any]]:
    """What one line says; nothing when it makes no sense."""
    try:
        said = json.loads(line)
        if isinstance(said, dict) and isinstance(said["trunk"], str) and isinstance(said["bindings"], list):
            return {said["trunk"]: said["bindings"]}
    except (ValueError, KeyError, RecursionError):
        pass
    log.warning("a line of bindings cannot be read: its PBX must register again")
    return {}


def _row(binding: Binding) -> dict[str, object]:
    return {
        "binding": binding.binding_id,
        "trunk": binding.trunk_id,
        "login": binding.login,
        "contact": binding.contact.text,
        "flow": binding.flow.token,
        "until": time.time() + binding.seconds_left,
        "call_id": binding.call_id,
        "sequence": binding.sequence,
        "path": list(binding.path),
        "password_revision": binding.password_revision,
    }


def _live(row: Any, flow_of: Callable[[str], Flow | None]) -> Binding | None:
    """None for one that is over, or that makes no sense: its PBX must register again, and no other."""
    try:
        binding = _binding(row, flow_of)
        return binding if binding is not None and binding.seconds_left > 0 else None
    except Exception as error:  # a file may hold anything
        log.warning("a binding cannot be read: its PBX must register again", error=type(error).__name__)
        return None


def _binding(row: dict[str, Any], flow_of: Callable[[str], Flow | None]) -> Binding | None:
    path = row.get("path", [])
    if not all(isinstance(value, str) for value in [*path, *(row[name] for name in _TEXTS)]):
        raise TypeError("a field is no text")
    flow = flow_of(row["flow"])
    if flow is None:
        return None
    return Binding(
        binding_id=row["binding"],
        trunk_id=row["trunk"],
        login=row["login"],
        contact=parse_name_addr(row["contact"]),
        flow=flow,
        expires_at=time.monotonic() + min(float(row["until"]) - time.time(), LONGEST_S),
        call_id=row["call_id"],
        sequence=int(row["sequence"]),
        path=tuple(path),
        password_revision=int(row.get("password_revision", 0)),
    )
