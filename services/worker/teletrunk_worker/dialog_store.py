"""Dialogs on disk: a PBX whose call ended with a Worker that was killed is told so by the Worker that comes next.

One file holds what it takes to end each dialog that has not ended, and is written anew when that has changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Message, Request, Response, parse
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transport.flow import Address, Flow

log = structlog.get_logger()

_LOOK_S: Final = 0.2
_ENCODING: Final = "latin-1"  # every byte is a character of it
_Shape = tuple[str, str, bool, bool, str]


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
    def __init__(self, path: Path, dialogs: Callable[[], Iterable[Dialog]], own: Sequence[Address] = ()) -> None:
        """`dialogs` gives those that have not ended; `own` is how routes name us, and not who comes after us."""
        self._path = path
        self._dialogs = dialogs
        self._own = own
        self._written: list[_Shape] = []

    def load(self, flow_of: Callable[[str], Flow | None]) -> list[Dialog]:
        """What a predecessor has left. What cannot be read is left to the PBX's own patience."""
        try:
            rows = json.loads(self._path.read_text())
            return [_dialog(row, flow_of) for row in rows]
        except FileNotFoundError:
            return []
        except Exception as error:  # a file may hold anything
            log.warning("dialogs of the process before cannot be ended", error=f"{type(error).__name__}: {error}")
            return []

    async def keep(self) -> None:
        """Writes what has changed, until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """What the last words have not ended is left to a successor."""
        await self._look()

    async def _look(self) -> None:
        dialogs = list(self._dialogs())
        shapes = [_shape(dialog) for dialog in dialogs]
        if shapes != self._written:
            text = json.dumps([_row(dialog, self._own) for dialog in dialogs])
            if await asyncio.to_thread(self._write, text):
                self._written = shapes

    def _write(self, text: str) -> bool:
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(text)
            fresh.replace(self._path)
        except OSError as error:
            log.warning("dialogs cannot be kept", error=str(error))
            return False
        return True


def _shape(dialog: Dialog) -> _Shape:
    """Changes when its end would be told in another way."""
    return dialog.call_id, dialog.leg, dialog.established is not None, dialog.last_status > 0, dialog.flow.token


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
        host_gone=True,
    )
