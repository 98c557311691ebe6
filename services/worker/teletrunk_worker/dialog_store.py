"""Dialogs on disk: a PBX whose call ended with a Worker that was killed is told so by the Worker that comes next.

A line of the journal holds what it takes to end one dialog, or says that it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from teletrunk_worker.line_journal import LineJournal
from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.dialog import Dialog, Dialogs
from teletrunk_worker.sip.message import Message, Request, Response, parse
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transport.flow import Address, Flow

log = structlog.get_logger()

MOST_LINES: Final = 1_000  # before the file is written afresh
_ENCODING: Final = "latin-1"  # every byte is a character of it


@dataclass(frozen=True)
class _ClosedFlow:
    """The connection of a peer, which ended with the process that had it."""

    peer: Address
    transport: str
    token: str = ""
    closed: bool = True

    def send(self, data: bytes) -> bool:
        return False

    def ping(self) -> bool:
        return False

    def close(self) -> None: ...

    def prove(self, login: str) -> None: ...


class DialogStore:
    """`path` is the journal."""

    def __init__(self, path: Path, dialogs: Dialogs, own: Sequence[Address] = ()) -> None:
        """`own` is how routes name us, and not who comes after us."""

        def line(sip_call_id: str) -> str:
            dialog = dialogs.find(sip_call_id)
            is_open = dialog is not None and not dialog.finished_at
            return json.dumps({"dialog": sip_call_id, "row": _row(dialog, own) if dialog and is_open else None})

        def live() -> list[str]:
            return [dialog.invite.call_id for dialog in dialogs.open()]

        self._list = path.with_suffix(".json")
        self._journal = LineJournal(path, "dialogs", line, live, MOST_LINES)

    def load(self, flow_of: Callable[[str], Flow | None]) -> list[Dialog]:
        """What a predecessor has left. What cannot be read is left to the PBX's own patience."""
        rows: dict[str, Any] = self._of_the_version_before()
        for line in self._journal.read():
            rows.update(_said(line))
        return [dialog for row in rows.values() if row is not None and (dialog := _left(row, flow_of)) is not None]

    def _of_the_version_before(self) -> dict[str, Any]:
        """It kept them all in one list, which is read once."""
        try:
            rows = json.loads(self._list.read_text())
            self._list.unlink()
            return {str(number): row for number, row in enumerate(rows)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            log.warning("dialogs of the version before cannot be read", error=str(error))
            return {}

    def note(self, sip_call_id: str) -> None:
        """The dialog has changed, or nobody will end it any more."""
        self._journal.note(sip_call_id)

    async def close(self) -> None:
        """What the last words have not ended is left to a successor."""
        await self._journal.close()


def _said(line: str) -> dict[str, Any]:
    """What one line says; nothing when it makes no sense."""
    try:
        said = json.loads(line)
        return {str(said["dialog"]): said["row"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        log.warning("a line of dialogs cannot be read: its PBX is told nothing")
        return {}


def _left(row: Any, flow_of: Callable[[str], Flow | None]) -> Dialog | None:
    try:
        return _dialog(row, flow_of)
    except Exception as error:  # a file may hold anything
        log.warning("a dialog of the process before cannot be ended", error=f"{type(error).__name__}: {error}")
        return None


def _row(dialog: Dialog, own: Sequence[Address]) -> dict[str, object]:
    return {
        "call_id": dialog.call_id,
        "leg": dialog.leg,
        "login": dialog.login,
        "flow": dialog.flow.token,
        "transport": dialog.flow.transport,
        "peer": list(dialog.flow.peer),
        "from_host": dialog.from_host,
        "invite": _head(dialog.invite, own),
        "established": _head(dialog.established, own) if dialog.established is not None else None,
        "last_status": dialog.last_status,
        "target": dialog.target,
    }


def _head(message: Request | Response, own: Sequence[Address]) -> str:
    """Without its description, and without what its sender has shown of a password."""
    headers = message.headers.copy()
    headers.remove("Authorization", "Proxy-Authorization", "Content-Type")
    headers.set("Content-Length", "0")
    recorded = [route.text for route in message.addresses("Record-Route") if not proxy.is_own(route, own)]
    headers.setlist("Record-Route", recorded)
    if isinstance(message, Request):
        head: Message = Request(message.method, message.target, headers=headers)
    else:
        head = Response(message.code, message.phrase, headers=headers)
    return bytes(head).decode(_ENCODING)


def _flow(row: dict[str, Any], flow_of: Callable[[str], Flow | None]) -> Flow:
    """A connection has ended with its process: its number is another's by now."""
    flow = flow_of(row["flow"]) if row["flow"].startswith("u-") else None
    host, port = row["peer"]
    return flow or _ClosedFlow((str(host), int(port)), row["transport"])


def _dialog(row: dict[str, Any], flow_of: Callable[[str], Flow | None]) -> Dialog:
    invite = parse(row["invite"].encode(_ENCODING))
    established = parse(row["established"].encode(_ENCODING)) if row["established"] else None
    if not isinstance(invite, Request) or isinstance(established, Request):
        raise TypeError("a request stands where an answer was, or the reverse")
    return Dialog(
        call_id=row["call_id"],
        leg=row["leg"],
        host_port=0,
        login=row["login"],
        sound=SoundTerms(),
        flow=_flow(row, flow_of),
        invite=invite,
        from_host=bool(row["from_host"]),
        established=established,
        last_status=int(row["last_status"]),
        target=str(row.get("target", "")),  # the version before had none
        host_gone=True,
    )
