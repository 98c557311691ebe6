"""Dialogs (RFC 3261 12) as a record-routing proxy sees them: enough to relay one, and to end it in place of a host."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.digest_client import Account, Credentials
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.timers import TIMER_C_S, TRANSACTION_S
from teletrunk_worker.sip.transport.flow import Address, Flow
from teletrunk_worker.sip.uas import SERVER

MOST_ANSWERERS: Final = 64
SOUND_RESTS_S: Final = 1.0
# What a peer may ask of a host within a dialog, at once and from then on: the thread that answers it moves the sound of
# other calls, too. Sound that is offered costs it ten milliseconds, anything else one.
ASKED_AT_ONCE: Final = 64.0
ASKED_A_SECOND: Final = 16.0  # a key by INFO each 70 ms
OFFER_COST: Final = 8.0
# What a host says that a peer may pass over (RFC 3515, RFC 6086): pjsip hangs up when it is not answered.
NO_DUTY: Final = frozenset({"NOTIFY", "INFO"})
_LOOK_S = 1.0
ELSEWHERE: Final = 'SIP;cause=200;text="Call completed elsewhere"'  # RFC 3326, 3GPP TS 24.229
_ABOVE_THE_HOSTS = 1_000_000  # a CSeq higher than any that the host can have used


@dataclass
class Dialog:
    """One dialog between a peer outside and a SIP host."""

    call_id: str  # ours; the SIP Call-ID is the key in the table
    leg: str
    host_port: int
    login: str  # of the trunk whose PBX the peer is
    sound: SoundTerms  # of that trunk
    flow: Flow
    invite: Request  # as the peer sent it, or as we sent it to the peer
    from_host: bool  # the host called out
    established: Response | None = None  # the 2xx, as it passed
    finished_at: float = 0.0
    last_status: int = 0
    last_phrase: str = ""
    cause: int = 0  # Q.850's, that the peer's BYE has named
    refused_answer: Exception | None = None  # why what the peer answered to the INVITE was refused on this side
    cancelled: bool = False  # a CANCEL has gone to the peer: a 200 that crosses it is nobody's
    host_gone: bool = False  # the proxy speaks for it from now on
    heard_out: bool = False  # since then the peer has given its final answer
    credentials: Credentials = field(default_factory=Credentials)  # for the peer's challenges to our requests
    challenges: int = 0
    account: Account | None = None  # what we answer them with
    asking: Request | None = None  # the host's INVITE or UPDATE within the dialog that nobody has answered yet
    unheard: dict[int, Request] = field(default_factory=dict)  # of these what nobody has answered, by CSeq
    peer_is_secure: bool = False  # it wants to be reached at a `sips:` address
    early_answers: dict[str, bytes] = field(default_factory=dict)  # by To tag: the latest description of a 1xx
    target: str = ""  # where the peer has said that it is since (RFC 3261 12.2); empty: where it was at first
    described: bytes = b""  # what it has said of its sound since; empty: what it said at first
    peer_asks: Request | None = None  # its re-INVITE or UPDATE that the host has not answered yet
    sound_place: int = 0  # which medium of the peer's offers is its sound
    sound_moved_at: float = -math.inf
    asked_left: float = ASKED_AT_ONCE
    asked_at: float = -math.inf
    refers: int = 0  # transfers that the peer has asked for: of a second one each NOTIFY says which it is
    acknowledged: bool = False  # the host has read the 200 to its INVITE
    established_at: float = 0.0  # by the monotonic clock
    elsewhere: bool = False  # another phone has the call: this one shall not list it as missed
    # The To tags of those who have answered: one, or one for each phone that a PBX rings.
    answerers: set[str] = field(default_factory=set)
    reliable: set[str] = field(default_factory=set)  # provisional answers of the host, as their PRACKs name them
    # By To tag: 2xx answers that the proxy has ended, with the ACK that each repetition gets again.
    declined: dict[str, bytes] = field(default_factory=dict)
    # Told when another process would have to end it in another way, or not at all.
    changed: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)

    def has(self, request: Request) -> bool:
        """Whether a request that comes from the peer belongs here: who only knows the Call-ID changes nothing."""
        near, far = request.to.tag, request.from_.tag  # ours and the peer's
        caller = self.invite.from_.tag
        if self.from_host:
            return near == caller and far in self.answerers
        return far == caller and near in self.answerers

    @property
    def pending(self) -> bool:
        """The INVITE has no final answer yet."""
        return self.established is None and not self.finished_at

    @property
    def remembered_s(self) -> float:
        """Seconds after its end, in which late retransmissions still find their way. A PBX that rings and does not
        hear our CANCEL may answer as late as a proxy would let it ring (RFC 3261 16.6, timer C)."""
        may_answer = self.from_host and self.host_gone and not self.heard_out and 0 < self.last_status < 200
        return TIMER_C_S if may_answer else TRANSACTION_S

    def is_first_invites(self, response: Response) -> bool:
        """Whether this answers the INVITE that made the dialog, and no later one."""
        return response.cseq == self.invite.cseq

    def waits_for(self, prack: Request) -> bool:
        """Whether it acknowledges an answer of the host (RFC 3262 7.2). Raises `Malformed`."""
        return " ".join(prack.headers["RAck"].split()) in self.reliable

    def left_the_offer_to_us(self, ack: Request) -> bool:
        """Whether this is of the INVITE that made the dialog, which had no description (RFC 3261 13.2.1)."""
        return not self.from_host and not self.invite.body and ack.cseq.sequence == self.invite.cseq.sequence

    def question_of(self, response: Response) -> Request | None:
        """What it answers, as it was sent to the peer: the INVITE that makes the dialog, or a host's question within
        it. None of other requests, which are not kept; the branch tells (RFC 3261 17.1.3)."""
        asked = response.via.branch, response.cseq.method
        kept = ([self.invite] if self.from_host else []) + ([] if self.asking is None else [self.asking])
        return next((request for request in kept if (request.via.branch, request.method) == asked), None)

    @property
    def parties(self) -> tuple[str, str]:
        """From and To of what is asked of the peer within the dialog."""
        made = self.established or self.invite  # which had no tag of who is called
        if self.from_host:
            return self.invite.headers["From"], made.headers["To"]
        return made.headers["To"], self.invite.headers["From"]

    def name_peer_in(self, response: Response) -> None:
        """Whoever answers an INVITE within the dialog is its peer (RFC 3261 12.2.1.2): no host forks there."""
        if response.cseq.method != "INVITE" or (self.from_host and self.is_first_invites(response)):
            return
        if not self.from_host or self.established is not None:
            response.headers.set("To", self.parties[1])

    def may_have_sound_at(self, place: int | None) -> bool:
        """Whether an offer within the dialog may have its sound at this one of its media; if so it has from now on.

        A host opens sockets when the sound moves and gives up others, which pjsip keeps for half a second: it aborts
        when they become too many.
        """
        if place is None or place == self.sound_place:
            return True
        if (now := time.monotonic()) - self.sound_moved_at < SOUND_RESTS_S:
            return False
        self.sound_place, self.sound_moved_at = place, now
        return True

    def may_ask(self, request: Request) -> bool:
        """Whether the peer's request is not one too many for a host; then it is counted."""
        offers = request.method == "INVITE" or (request.method in ("UPDATE", "PRACK") and bool(request.body))
        cost, now = OFFER_COST if offers else 1.0, time.monotonic()
        left = min(ASKED_AT_ONCE, self.asked_left + (now - self.asked_at) * ASKED_A_SECOND)
        may = left >= cost
        self.asked_left, self.asked_at = left - cost if may else left, now
        return may

    def is_taken(self, response: Response) -> None:
        """The host's answer to what the peer has asked: it is where that names it, and as that describes it, once it
        is taken."""
        asks = self.peer_asks
        if asks is None or response.cseq != asks.cseq or response.code < 200:
            return
        self.peer_asks = None
        if response.code < 300:
            self.described = asks.body or self.described
            if contacts := asks.contacts:
                self.peer_is_at(contacts[0].uri.target)

    def peer_is_at(self, target: str) -> None:
        if target != self.target:
            self.target = target
            self.changed()

    def note_response(self, response: Response) -> None:
        """Watches the answers to the first INVITE."""
        if response.cseq.method != "INVITE":
            return
        if response.to.tag and len(self.answerers) < MOST_ANSWERERS:
            self.answerers.add(response.to.tag)
        if not self.from_host and response.code < 200 and (number := response.number("RSeq")) is not None:
            self.reliable.add(f"{number} {response.cseq}")
        if not (self.pending and self.is_first_invites(response)):
            return
        is_first = not self.last_status
        self.last_status, self.last_phrase = response.code, response.phrase
        if response.code >= 300:
            self.finish()
        elif response.code >= 200:
            self.established, self.established_at = response, time.monotonic()
            self.changed()
        elif is_first:
            self.changed()

    def begin_again(self, invite: Request) -> None:
        """The host has heard what its INVITE lacked (422), and comes with another one (RFC 4028 7.3)."""
        self.invite, self.last_status, self.finished_at = invite, 0, 0.0
        self.changed()

    def move(self, flow: Flow) -> None:
        """The peer is reached by this flow from now on."""
        is_other = flow.token != self.flow.token
        self.flow = flow
        if is_other:
            self.changed()

    def is_established_with(self, tag: str) -> bool:
        """Whether this is the peer's tag, and no fork's that has lost."""
        if self.established is None:
            return True
        return tag == (self.established.to if self.from_host else self.invite.from_).tag

    def finish(self) -> None:
        if not self.finished_at:
            self.finished_at = time.monotonic()
            self.changed()

    def refusal_for_host(self, status: int, phrase: str) -> Response:
        """The final answer to the host's INVITE, in the peer's place."""
        response = _in_place_of_peer(self.invite, status, phrase)
        response.headers.set("To", f"{response.headers['To']};tag=ended")
        return response

    def end_of_asking(self) -> Response | None:
        """What the host hears of its question before the dialog ends: pjsua would take a later answer for one to
        whatever call has its place by then, and abort."""
        asking, self.asking = self.asking, None
        return None if asking is None else _in_place_of_peer(asking, 491, "Request Pending")

    def in_place_of_silence(self, sequence: int) -> Response | None:
        """What the host hears in place of an answer that does not come, for which pjsip hangs up. None of a request
        that was answered."""
        request = self.unheard.pop(sequence, None)
        return None if request is None else _in_place_of_peer(request, 200, "OK")

    # Requests that the host would send.

    def bye(self, answer: Response, reason: tuple[str, str], own: Sequence[Address]) -> Request | None:
        """For the dialog that the 2xx made; None when it says no address."""
        bye = self._request("BYE", self.invite.cseq.sequence + _ABOVE_THE_HOSTS, answer, own)
        if bye is not None:
            bye.headers.add(*reason)
        return bye

    def ack(self, answer: Response, own: Sequence[Address]) -> Request | None:
        """RFC 3261 13.2.2.4: for a 2xx, a request of its own."""
        return self._request("ACK", answer.cseq.sequence, answer, own)

    def cancel(self) -> Request:
        """CANCEL for the INVITE that we sent to the peer (RFC 3261 9.1)."""
        self.cancelled = True
        cancel = self._hop_by_hop("CANCEL", self.invite.headers["To"])
        if self.elsewhere:
            cancel.headers.add("Reason", ELSEWHERE)
        return cancel

    def ack_of_refusal(self, refusal: Response) -> Request:
        """RFC 3261 17.1.1.3: on the branch of its INVITE."""
        return self._hop_by_hop("ACK", refusal.headers["To"])

    def _request(self, method: str, sequence: int, answer: Response, own: Sequence[Address]) -> Request | None:
        ours, theirs = self.invite, answer
        # The peer's contact and route set, seen from the side that the host stands on (RFC 3261 12.1).
        contacts = theirs.contacts if self.from_host else ours.contacts
        recorded = (theirs if self.from_host else ours).addresses("Record-Route")
        routes = recorded[::-1] if self.from_host else recorded
        if not contacts:
            return None
        moved = self.target if answer is self.established else ""  # a fork's answer, which has lost, says its own
        request = Request(method, moved or contacts[0].uri.target)
        near, far = ("From", "To") if self.from_host else ("To", "From")
        for route in routes:
            if not proxy.is_own(route, own):
                request.headers.add("Route", route.text)
        request.headers.add("From", theirs.headers[near])
        request.headers.add("To", theirs.headers[far])
        request.headers.add("Call-ID", ours.call_id)
        request.headers.add("CSeq", f"{sequence} {method}")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("User-Agent", SERVER)
        request.headers.add("Content-Length", "0")
        proxy.suit_strict_router(request)
        return request

    def _hop_by_hop(self, method: str, to: str) -> Request:
        request = Request(method, self.invite.target)
        request.headers.add("Via", self.invite.vias[0])
        for route in self.invite.headers.getlist("Route"):
            request.headers.add("Route", route)
        request.headers.add("From", self.invite.headers["From"])
        request.headers.add("To", to)
        request.headers.add("Call-ID", self.invite.call_id)
        request.headers.add("CSeq", f"{self.invite.cseq.sequence} {method}")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("Content-Length", "0")
        return request


def _in_place_of_peer(request: Request, status: int, phrase: str) -> Response:
    """Of a request as we have sent it on."""
    response = Response(status, phrase)
    response.headers.setlist("Via", request.vias[1:])  # ours is on top
    for name in ("From", "To", "Call-ID", "CSeq"):
        response.headers.set(name, request.headers[name])
    response.headers.set("Content-Length", "0")
    return response


class Dialogs:
    """All dialogs that pass through, by SIP Call-ID and by the leg that they are.

    `changed` is told the SIP Call-ID of one that is new, has ended, or would have to be ended in another way.
    """

    def __init__(self) -> None:
        self.changed: Callable[[str], None] = lambda sip_call_id: None
        self._all: dict[str, Dialog] = {}
        self._of_leg: dict[tuple[str, str], Dialog] = {}
        self._looked_at = 0.0

    def __len__(self) -> int:
        """Those that have not ended."""
        return len(self.open())

    def open(self) -> list[Dialog]:
        """Those that have not ended."""
        return [dialog for dialog in self._all.values() if not dialog.finished_at]

    def add(self, dialog: Dialog) -> None:
        self._forget_old()
        key = dialog.invite.call_id
        self._all[key] = self._of_leg[dialog.call_id, dialog.leg] = dialog
        dialog.changed = lambda: self.changed(key)
        dialog.changed()

    def find(self, sip_call_id: str) -> Dialog | None:
        return self._all.get(sip_call_id)

    def of_leg(self, call_id: str, leg: str) -> Dialog | None:
        return self._of_leg.get((call_id, leg))

    def _forget_old(self) -> None:
        """Now and then: looking at all of them for each new one would cost more with every one."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now

        def kept(dialog: Dialog) -> bool:
            return not dialog.finished_at or dialog.finished_at >= now - dialog.remembered_s

        self._all = {key: dialog for key, dialog in self._all.items() if kept(dialog)}
        self._of_leg = {key: dialog for key, dialog in self._of_leg.items() if kept(dialog)}
