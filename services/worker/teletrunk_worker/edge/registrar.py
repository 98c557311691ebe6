"""Where registered PBXs can be reached: RFC 3261 section 10, with the flow that each REGISTER came in on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from teletrunk_worker.edge.flows import Flow
from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.uri import NameAddr

SHORTEST_S = 60
LONGEST_S = 3600
_DEFAULT_S = 600
_MOST_BINDINGS = 8  # of one trunk


class IntervalTooBrief(ValueError):
    """The client asks for less than `SHORTEST_S`: 423 with Min-Expires."""


class BadContact(ValueError):
    """The REGISTER's Contact cannot be used; the text says why."""


@dataclass
class Binding:
    """One address at which a trunk's PBX takes calls."""

    binding_id: str
    trunk_id: str
    login: str
    contact: NameAddr
    flow: Flow
    expires_at: float
    call_id: str
    sequence: int

    @property
    def seconds_left(self) -> int:
        return max(0, round(self.expires_at - time.monotonic()))


class Registrar:
    """All bindings of this Worker. `changed` is called after each change."""

    def __init__(self) -> None:
        self._bindings: dict[str, list[Binding]] = {}
        self._trunk_of: dict[str, str] = {}  # by login: asked for every call
        self.changed: Callable[[], None] = lambda: None

    def register(self, request: Request, trunk_id: str, login: str, flow: Flow) -> list[Binding]:
        """Applies a REGISTER whose sender is known; returns the trunk's bindings.

        Raises `IntervalTooBrief`, `BadContact`; then nothing has changed.
        """
        contacts = _contacts(request)
        asked = request.number("Expires")
        default = asked if asked is not None else _DEFAULT_S
        if request.headers.get("Contact") == "*":
            if default != 0:
                raise BadContact("Contact: * needs Expires: 0")
            self._bindings.pop(trunk_id, None)
        wanted = [(contact, _expires(contact, default)) for contact in contacts]
        if any(0 < seconds < SHORTEST_S for _, seconds in wanted):
            raise IntervalTooBrief
        for contact, seconds in wanted:
            self._apply(request, trunk_id, login, flow, contact, min(seconds, LONGEST_S))
        self.changed()
        return self.bindings(trunk_id)

    def _apply(self, request: Request, trunk_id: str, login: str, flow: Flow, contact: NameAddr, seconds: int) -> None:
        known = self.bindings(trunk_id)
        same = next((binding for binding in known if binding.contact.uri.is_same_as(contact.uri)), None)
        if same and same.call_id == request.call_id and same.sequence > request.cseq.sequence:
            raise BadContact("an older REGISTER came after a newer one")
        rest = [binding for binding in known if binding is not same]
        if seconds:
            # The newest comes first: it is the one that calls are tried on first.
            binding_id = same.binding_id if same else f"b{secrets.token_hex(8)}"
            rest.insert(
                0,
                Binding(
                    binding_id,
                    trunk_id,
                    login,
                    contact,
                    flow,
                    time.monotonic() + seconds,
                    request.call_id,
                    request.cseq.sequence,
                ),
            )
        self._bindings[trunk_id] = rest[:_MOST_BINDINGS]
        self._trunk_of[login] = trunk_id

    def all(self) -> list[Binding]:
        return [binding for trunk_id in list(self._bindings) for binding in self.bindings(trunk_id)]

    def restore(self, bindings: list[Binding]) -> None:
        """What a Worker before us knew, newest first."""
        for binding in bindings:
            self._bindings.setdefault(binding.trunk_id, []).append(binding)
            self._trunk_of[binding.login] = binding.trunk_id

    def knows(self, login: str) -> bool:
        """Whether a PBX is registered with this login."""
        return bool(self.bindings(self._trunk_of.get(login, "")))

    def trunk_ids(self) -> list[str]:
        """The trunks whose PBX can be reached."""
        return sorted({binding.trunk_id for binding in self.all() if not binding.flow.closed})

    def reachable(self, trunk_id: str) -> list[Binding]:
        """Those of the live bindings whose connection is still there, newest first."""
        return [binding for binding in self.bindings(trunk_id) if not binding.flow.closed]

    def bindings(self, trunk_id: str) -> list[Binding]:
        """The trunk's live bindings, newest first."""
        now = time.monotonic()
        live = [binding for binding in self._bindings.get(trunk_id, []) if binding.expires_at > now]
        if live:
            self._bindings[trunk_id] = live
        else:
            self._bindings.pop(trunk_id, None)
        return list(live)

    def drop(self, login: str, flow: Flow) -> None:
        """Who comes by this flow has shown that the login is not theirs (any more): it is not rung either."""
        trunk_id = self._trunk_of.get(login, "")
        known = self.bindings(trunk_id)
        if rest := [binding for binding in known if binding.flow.token != flow.token]:
            self._bindings[trunk_id] = rest
        else:
            self._bindings.pop(trunk_id, None)
        if len(rest) != len(known):
            self.changed()

    def find(self, binding_id: str) -> Binding | None:
        for trunk_id in list(self._bindings):
            for binding in self.bindings(trunk_id):
                if binding.binding_id == binding_id:
                    return binding
        return None

    def keep_only(self, trunk_ids: set[str]) -> None:
        """Drops bindings of trunks that do not exist any more."""
        if gone := set(self._bindings) - trunk_ids:
            for trunk_id in gone:
                del self._bindings[trunk_id]
            self._trunk_of = {login: kept for login, kept in self._trunk_of.items() if kept not in gone}
            self.changed()

    @property
    def count(self) -> int:
        return sum(len(self.bindings(trunk_id)) for trunk_id in list(self._bindings))


def _contacts(request: Request) -> list[NameAddr]:
    contacts = request.contacts
    if len(contacts) > _MOST_BINDINGS:
        raise BadContact("too many contacts")
    if any(contact.uri.scheme != "sip" for contact in contacts):
        raise BadContact("only sip: contacts can be called")
    return contacts


def _expires(contact: NameAddr, default: int) -> int:
    value = contact.parameters.get("expires")
    if value is None:
        return default
    try:
        return max(0, int(value))
    except ValueError:
        return default
