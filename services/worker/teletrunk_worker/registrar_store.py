"""Bindings on disk: a PBX that registered need not do so again because this process was replaced.

A line of the journal has all bindings of one trunk. A binding over TCP ends with its connection, so only those over
UDP are kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from teletrunk_worker.line_journal import LineJournal
from teletrunk_worker.sip.registrar import LONGEST_S, Binding, Registrar
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.sip.uri import parse_name_addr

log = structlog.get_logger()

MOST_LINES: Final = 10_000  # before the file is written afresh
_TEXTS = ("binding", "trunk", "login", "contact", "flow", "call_id")


class RegistrarStore:
    """`path` is the journal."""

    def __init__(self, path: Path, registrar: Registrar) -> None:
        def line(trunk_id: str) -> str:
            return _line(trunk_id, registrar.bindings(trunk_id))

        self._registrar = registrar
        self._journal = LineJournal(path, "bindings", line, registrar.trunks, MOST_LINES)

    def note(self, trunk_id: str) -> None:
        """The trunk's bindings have changed."""
        self._journal.note(trunk_id)

    async def close(self) -> None:
        await self._journal.close()

    def load(self, flow_of: Callable[[str], Flow | None]) -> None:
        """Takes over what is still valid. What cannot be read is only a reason to register again."""
        trunks: dict[str, list[Any]] = {}
        for line in self._journal.read():
            trunks.update(_trunk(line))
        live = [binding for rows in trunks.values() for row in rows if (binding := _live(row, flow_of)) is not None]
        self._registrar.restore(live)
        log.info("bindings restored", count=len(live))


def _line(trunk_id: str, bindings: Iterable[Binding]) -> str:
    rows = [_row(binding) for binding in bindings if not binding.of_ours and binding.flow.token.startswith("u-")]
    return json.dumps({"trunk": trunk_id, "bindings": rows})


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
        "user_agent": binding.user_agent,
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
        user_agent=str(row.get("user_agent", "")),
    )
