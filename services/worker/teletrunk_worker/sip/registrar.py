"""Where registered PBXs can be reached (RFC 3261 10), with the flow that each REGISTER came in on.

A contact is the same as before when its URI is, or, for a client that names itself, its `+sip.instance` and `reg-id`
(RFC 5626 6). The proxies that a REGISTER has passed (`Path`, RFC 3327) are the way to its contact.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from teletrunk_worker.sip import outbound
from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.sip.uri import NameAddr

SHORTEST_S: Final = 60
LONGEST_S: Final = 3600
MOST_BINDINGS: Final = 8  # of one trunk
_DEFAULT_S = 600
_CALLED = frozenset({"sip"})
_CALLED_BY_TLS = _CALLED | {"sips"}  # by the connection that the client has made: nothing in clear leads there
_LONGEST_INSTANCE = 256
_LONGEST_CONTACT = 1_024  # all that is said of one, with its parameters
_LONGEST_PATH = 2_048  # it is kept for each contact
_LONGEST_USER_AGENT = 64


class IntervalTooBrief(ValueError):
    """The client asks for less than `SHORTEST_S`: 423 with Min-Expires."""


class BadContact(ValueError):
    """The REGISTER's Contact cannot be used; the text says why."""


@dataclass(frozen=True)
class Binding:
    """One address at which a trunk's PBX takes calls. `path` are Route entries, as they were written."""

    binding_id: str
    trunk_id: str
    login: str
    contact: NameAddr
    flow: Flow
    expires_at: float
    call_id: str
    sequence: int
    path: tuple[str, ...] = ()
    password_revision: int = 0
    made_at: float = 0.0  # monotonic; 0 of one that a Worker before us has made
    of_ours: bool = False  # nobody has registered it: we know the PBX's address
    user_agent: str = ""  # what the PBX calls itself, cut and cleaned

    @property
    def seconds_left(self) -> int:
        return max(0, round(self.expires_at - time.monotonic()))

    @property
    def instance(self) -> tuple[str, str] | None:
        """What the client calls itself and this of its flows, when it does."""
        return outbound.flow_name(self.contact)

    def is_for(self, contact: NameAddr) -> bool:
        """Whether a REGISTER of this contact is about this binding."""
        other = outbound.flow_name(contact)
        if self.instance is not None and other is not None:
            return self.instance == other
        return self.contact.uri.is_same_as(contact.uri)


class Registrar:
    """All bindings of this Worker. `changed` is called with the trunk's id after each change."""

    def __init__(self) -> None:
        self._of_trunk: dict[str, list[Binding]] = {}
        self._by_id: dict[str, Binding] = {}
        self._by_flow: dict[str, set[str]] = {}  # trunks, by the token of a flow
        self._trunk_of: dict[str, str] = {}  # by login: asked for every call
        self._listed: set[str] = set()  # trunks that there were by the last list
        self.changed: Callable[[str], None] = lambda trunk_id: None

    def register(
        self, request: Request, trunk_id: str, login: str, flow: Flow, password_revision: int = 0
    ) -> list[Binding]:
        """Applies a REGISTER whose sender is known; returns the trunk's bindings.

        Raises `IntervalTooBrief`, `BadContact`, `Malformed`; then nothing has changed (RFC 3261 10.3, step 7).
        """
        known = self.bindings(trunk_id)
        path = tuple(entry.text for entry in request.addresses("Path"))
        if sum(map(len, path)) > _LONGEST_PATH:
            raise BadContact("the Path is too long")
        if any(value.strip() == "*" for value in request.headers.getlist("Contact")):
            _require_removal_of_all(request)
            wanted = [binding for binding in known if _is_newer(binding, request)]
        else:
            made = partial(
                Binding,
                trunk_id=trunk_id,
                login=login,
                flow=flow,
                call_id=request.call_id,
                sequence=request.cseq.sequence,
                path=path,
                password_revision=password_revision,
                user_agent=cleaned(request.headers.get("User-Agent") or "", _LONGEST_USER_AGENT),
            )
            wanted = _applied(request, known, made, _CALLED_BY_TLS if flow.transport == "TLS" else _CALLED)
        if wanted != known:
            self._put(trunk_id, wanted)
            self._trunk_of[login] = trunk_id
            self.changed(trunk_id)
        return self.bindings(trunk_id)

    def _put(self, trunk_id: str, bindings: list[Binding]) -> None:
        for old in self._of_trunk.pop(trunk_id, ()):
            self._by_id.pop(old.binding_id, None)
            trunks = self._by_flow.get(old.flow.token, set())
            trunks.discard(trunk_id)
            if not trunks:
                self._by_flow.pop(old.flow.token, None)
        if bindings:
            self._of_trunk[trunk_id] = bindings
            self._by_id.update((binding.binding_id, binding) for binding in bindings)
            for binding in bindings:
                self._by_flow.setdefault(binding.flow.token, set()).add(trunk_id)

    def name(self, login: str, trunk_id: str) -> None:
        """Whose login it is, before its PBX has a binding."""
        self._trunk_of[login] = trunk_id

    def is_at(self, flow: Flow) -> bool:
        """Whether a PBX has registered on this flow."""
        known = [self.bindings(trunk_id) for trunk_id in self._by_flow.get(flow.token, ())]
        return any(one.flow.token == flow.token and not one.of_ours for bindings in known for one in bindings)

    def replace(self, trunk_id: str, login: str, bindings: list[Binding]) -> None:
        """Those of a PBX that does not register here."""
        if bindings or trunk_id in self._of_trunk:
            self._put(trunk_id, bindings)
            self._trunk_of[login] = trunk_id
            self.changed(trunk_id)

    def restore(self, bindings: list[Binding]) -> None:
        """What a Worker before us knew, newest first."""
        for trunk_id, group in itertools.groupby(sorted(bindings, key=_trunk), key=_trunk):
            self._put(trunk_id, list(group)[:MOST_BINDINGS])
        self._trunk_of.update((binding.login, binding.trunk_id) for binding in bindings)

    # What is there.

    def all(self) -> list[Binding]:
        return [binding for trunk_id in list(self._of_trunk) for binding in self.bindings(trunk_id)]

    @property
    def count(self) -> int:
        return len(self.all())

    def bindings(self, trunk_id: str) -> list[Binding]:
        """The trunk's live bindings, newest first."""
        known = self._of_trunk.get(trunk_id, [])
        now = time.monotonic()
        live = [binding for binding in known if binding.expires_at > now]
        if len(live) != len(known):
            self._put(trunk_id, live)
        return list(live)

    def of_login(self, login: str) -> list[Binding]:
        """The live bindings of the trunk with this login, newest first."""
        return self.bindings(self.trunk_of(login))

    def find(self, binding_id: str) -> Binding | None:
        binding = self._by_id.get(binding_id)
        return binding if binding is not None and binding.expires_at > time.monotonic() else None

    def knows(self, login: str) -> bool:
        """Whether a PBX is registered with this login."""
        return bool(self.of_login(login))

    def trunks(self) -> list[str]:
        """The ids of those that have bindings."""
        return sorted({binding.trunk_id for binding in self.all()})

    def reachable_trunks(self) -> list[str]:
        return sorted({binding.trunk_id for binding in self.all() if not binding.flow.closed})

    def reachable(self, trunk_id: str) -> list[Binding]:
        """Those of the live bindings whose connection is still there, newest first."""
        return [binding for binding in self.bindings(trunk_id) if not binding.flow.closed]

    # What ends bindings.

    def drop(self, login: str, flow: Flow) -> None:
        """Who comes by this flow has shown that the login is not theirs (any more): it is not rung either."""
        known = self.of_login(login)
        rest = [binding for binding in known if binding.flow.token != flow.token]
        if len(rest) != len(known):
            self._put(known[0].trunk_id, rest)
            self.changed(known[0].trunk_id)

    def keep(self, is_just: Callable[[Binding], bool], trunk_ids: Iterable[str]) -> None:
        """Ends the bindings of these trunks that would not be made any more."""
        for trunk_id in trunk_ids:
            known = self.bindings(trunk_id)
            rest = [binding for binding in known if is_just(binding)]
            if len(rest) != len(known):
                self._put(trunk_id, rest)
                self.changed(trunk_id)

    def trunk_of(self, login: str) -> str:
        """The id of the trunk that has registered with this login; empty when none has."""
        return self._trunk_of.get(login, "")

    def keep_only(self, trunk_ids: set[str]) -> None:
        """Drops bindings of trunks that do not exist any more.

        The Manager's answer to a REGISTER may overtake its list of trunks: one that has registered here, and that no
        list has named yet, is a new one.
        """
        absent = set(self._of_trunk) - trunk_ids
        gone = {trunk_id for trunk_id in absent if trunk_id in self._listed or self._is_inherited(trunk_id)}
        self._listed = trunk_ids
        if gone:
            self._trunk_of = {login: kept for login, kept in self._trunk_of.items() if kept not in gone}
        for trunk_id in gone:
            self._put(trunk_id, [])
            self.changed(trunk_id)

    def _is_inherited(self, trunk_id: str) -> bool:
        return not any(binding.made_at for binding in self.bindings(trunk_id))

    def flow_closed(self, flow: Flow) -> None:
        """Who was bound to it cannot be reached any more, until it comes again."""
        for trunk_id in sorted(self._by_flow.get(flow.token, ())):
            self.changed(trunk_id)


def cleaned(text: str, longest: int) -> str:
    """Of what a stranger has written: so much as people are shown, without what would command a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])


def _applied(
    request: Request, known: list[Binding], made: Callable[..., Binding], schemes: Collection[str]
) -> list[Binding]:
    """The trunk's bindings as they shall be. Raises `BadContact`, `IntervalTooBrief`."""
    wanted = list(known)
    for contact, seconds in _contacts(request, schemes):
        same = next((binding for binding in wanted if binding.is_for(contact)), None)
        if same is not None and _is_newer(same, request):
            raise BadContact("an older REGISTER came after a newer one")
        wanted = [binding for binding in wanted if binding is not same]
        if seconds:
            binding_id = same.binding_id if same else f"b{secrets.token_hex(8)}"
            now = time.monotonic()
            fresh = made(binding_id=binding_id, contact=contact, expires_at=now + seconds, made_at=now)
            wanted.insert(0, fresh)  # the newest comes first: it is the one that calls are tried on first
    return wanted[:MOST_BINDINGS]


def _trunk(binding: Binding) -> str:
    return binding.trunk_id


def _is_newer(binding: Binding, request: Request) -> bool:
    return binding.call_id == request.call_id and binding.sequence > request.cseq.sequence


def _require_removal_of_all(request: Request) -> None:
    """RFC 3261 10.3, step 6. Raises `BadContact`."""
    if len(request.entries("Contact")) != 1:
        raise BadContact("Contact: * stands alone")
    if request.number("Expires") != 0:
        raise BadContact("Contact: * needs Expires: 0")


def _contacts(request: Request, schemes: Collection[str]) -> list[tuple[NameAddr, int]]:
    """Each contact with the seconds that it is granted. Raises `BadContact`, `IntervalTooBrief`."""
    asked = request.number("Expires")
    contacts = request.contacts
    if len(contacts) > MOST_BINDINGS:
        raise BadContact("too many contacts")
    if any(contact.uri.scheme not in schemes for contact in contacts):
        raise BadContact("only sip: contacts can be called, and over TLS sips: ones")
    if any(len(contact.parameters.get("+sip.instance") or "") > _LONGEST_INSTANCE for contact in contacts):
        raise BadContact("+sip.instance is too long")
    if any(len(contact.text) > _LONGEST_CONTACT for contact in contacts):
        raise BadContact("a contact is too long")
    granted = [(contact, _expires(contact, _DEFAULT_S if asked is None else asked)) for contact in contacts]
    if any(0 < seconds < SHORTEST_S for _, seconds in granted):
        raise IntervalTooBrief
    return [(contact, min(seconds, LONGEST_S)) for contact, seconds in granted]


def _expires(contact: NameAddr, default: int) -> int:
    """RFC 3261 10.2.1.1: what cannot be read counts as not said."""
    value = contact.parameters.get("expires") or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else default
