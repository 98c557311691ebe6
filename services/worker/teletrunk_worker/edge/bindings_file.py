"""Bindings on disk: a PBX that registered need not do so again because this process was replaced.

A binding over TCP ends with its connection, so only those over UDP are kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from teletrunk_worker.edge.flows import Flow
from teletrunk_worker.edge.registrar import LONGEST_S, Binding, Registrar
from teletrunk_worker.sip.uri import parse_name_addr

log = structlog.get_logger()

_GATHERING_S = 0.2  # a thousand registrations in a second are not a thousand files


class BindingsFile:
    def __init__(self, path: Path, registrar: Registrar) -> None:
        self._path = path
        self._registrar = registrar
        self._due: asyncio.TimerHandle | None = None

    def load(self, flow_of: Callable[[str], Flow | None]) -> None:
        """Takes over what is still valid. What cannot be read is only a reason to register again."""
        try:
            rows = json.loads(self._path.read_text())
            if not isinstance(rows, list):
                raise ValueError("it is no list")
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.warning("bindings cannot be read: PBXs must register again", error=str(error))
            return
        live = [binding for row in rows if (binding := _live(row, flow_of)) is not None]
        self._registrar.restore(live)
        log.info("bindings restored", count=len(live))

    def note(self) -> None:
        """Something has changed: it will be written very soon."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_GATHERING_S, self.write)

    def write(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        rows = [_row(binding) for binding in self._registrar.all() if binding.flow.token.startswith("u-")]
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(rows))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("bindings cannot be kept", error=str(error))


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
    }


def _live(row: Any, flow_of: Callable[[str], Flow | None]) -> Binding | None:
    """None for one that is over, or that makes no sense: its PBX must register again, and no other."""
    try:
        binding = _binding(row, flow_of)
        return binding if binding is not None and binding.seconds_left > 0 else None
    except Exception as error:  # a Contact comes from a stranger, and its parser raises more than ValueError
        log.warning("a binding cannot be read: its PBX must register again", error=type(error).__name__)
        return None


def _binding(row: dict[str, Any], flow_of: Callable[[str], Flow | None]) -> Binding | None:
    for name in ("binding", "trunk", "login", "contact", "flow", "call_id"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is no text")
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
    )
