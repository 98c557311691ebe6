"""What the edge remembers of each dialog: enough to relay it, and to end it in place of a host that died."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sipmessage import Address, CSeq, Request, Response

from teletrunk_worker.edge import messages
from teletrunk_worker.edge.flows import Flow

_MOST_ANSWERERS = 64
_LOOK_S = 1.0
_LINGER_S = 32.0  # RFC 3261's longest transaction: late retransmissions still find their way


@dataclass
class Dialog:
    """One dialog between a peer outside and a SIP host."""

    call_id: str  # ours; the SIP Call-ID is the key in the table
    leg: str
    host_port: int
    flow: Flow
    invite: Request  # as the peer sent it, or as we sent it to the peer
    from_host: bool  # the host called out
    established: Response | None = None  # the 2xx, as it passed
    finished_at: float = 0.0
    last_status: int = 0
    last_phrase: str = ""
    # The To tags of those who have answered: one, or one for each phone that a PBX rings.
    answerers: set[str] = field(default_factory=set)

    def has(self, request: Request) -> bool:
        """Whether a request that comes from the peer belongs here: who only knows the Call-ID changes nothing."""
        near, far = _tag(request.to_address), _tag(request.from_address)  # ours and the peer's
        caller = _tag(self.invite.from_address)
        if self.from_host:
            return near == caller and far in self.answerers
        return far == caller and near in self.answerers

    @property
    def pending(self) -> bool:
        """The INVITE has no final answer yet."""
        return self.established is None and not self.finished_at

    def note_response(self, response: Response) -> None:
        """Watches the answers to the first INVITE."""
        if response.cseq.method != "INVITE":
            return
        if (tag := _tag(response.to_address)) and len(self.answerers) < _MOST_ANSWERERS:
            self.answerers.add(tag)
        if not self.pending:
            return
        self.last_status, self.last_phrase = response.code, response.phrase
        if 200 <= response.code < 300:
            self.established = response
        elif response.code >= 300:
            self.finish()

    def finish(self) -> None:
        self.finished_at = self.finished_at or time.monotonic()

    def bye(self, reason: tuple[str, str], own: list[tuple[str, int]]) -> Request | None:
        """The BYE that the host would send, or None when there is no dialog to end."""
        if self.established is None or self.finished_at:
            return None
        ours, theirs = self.invite, self.established
        # The peer's contact and route set, seen from the side that the host stands on (RFC 3261 12.1).
        contacts = theirs.contact if self.from_host else ours.contact
        routes = list(reversed(theirs.record_route)) if self.from_host else ours.record_route
        if not contacts:
            return None
        bye = Request("BYE", contacts[0].uri)
        near, far = ("From", "To") if self.from_host else ("To", "From")
        bye.headers.set("From", theirs.headers[near])
        bye.headers.set("To", theirs.headers[far])
        bye.headers.set("Call-ID", ours.call_id)
        bye.cseq = CSeq(ours.cseq.sequence + 1_000_000, "BYE")  # above anything that the host has sent
        bye.max_forwards = 70
        bye.route = [route for route in routes if (route.uri.host, route.uri.port or 5060) not in set(own)]
        bye.headers.set(*reason)
        bye.headers.set("User-Agent", messages.SERVER)
        bye.headers.set("Content-Length", "0")
        return bye

    def cancel(self) -> Request:
        """CANCEL for the INVITE that we sent to the peer (RFC 3261 9.1)."""
        cancel = Request("CANCEL", self.invite.uri)
        cancel.via = [self.invite.via[0]]
        for name in ("From", "To", "Call-ID"):
            cancel.headers.set(name, self.invite.headers[name])
        cancel.cseq = CSeq(self.invite.cseq.sequence, "CANCEL")
        cancel.max_forwards = 70
        cancel.route = self.invite.route
        cancel.headers.set("Content-Length", "0")
        return cancel


def _tag(address: Address) -> str:
    return address.parameters.get("tag") or ""


class Dialogs:
    """All dialogs that pass through, by SIP Call-ID and by the leg that they are."""

    def __init__(self) -> None:
        self._all: dict[str, Dialog] = {}
        self._of_leg: dict[tuple[str, str], Dialog] = {}
        self._looked_at = 0.0

    def add(self, dialog: Dialog) -> None:
        self._forget_old()
        self._all[dialog.invite.call_id] = self._of_leg[dialog.call_id, dialog.leg] = dialog

    def find(self, sip_call_id: str) -> Dialog | None:
        return self._all.get(sip_call_id)

    def of_leg(self, call_id: str, leg: str) -> Dialog | None:
        return self._of_leg.get((call_id, leg))

    def _forget_old(self) -> None:
        """Now and then: looking at all of them for each new one would cost more with every one."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at, limit = now, now - _LINGER_S

        def kept(dialog: Dialog) -> bool:
            return not dialog.finished_at or dialog.finished_at >= limit

        self._all = {key: dialog for key, dialog in self._all.items() if kept(dialog)}
        self._of_leg = {key: dialog for key, dialog in self._of_leg.items() if kept(dialog)}
