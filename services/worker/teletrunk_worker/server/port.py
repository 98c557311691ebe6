"""The Worker's public SIP port: reads what comes in, and gives it to the layer that it is for.

REGISTER and OPTIONS are answered here. A call that the policy lets in is relayed to the SIP host that carries it, as
a record-routing proxy does, and stays on its way until it ends.
"""

from __future__ import annotations

import structlog
from teletrunk.errors import Refusal
from teletrunk.metrics import DIALOGS, STRANGERS

from teletrunk_worker.policy.admission import Admission, Gatekeeper, shown
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.relay.from_host import FromHost
from teletrunk_worker.relay.from_peer import FromPeer
from teletrunk_worker.relay.routes import Routes
from teletrunk_worker.relay.stand_in import StandIn
from teletrunk_worker.server.in_dialog import InDialog
from teletrunk_worker.server.invitations import Invitations
from teletrunk_worker.server.registrations import Registrations
from teletrunk_worker.server.responder import Responder
from teletrunk_worker.sip import proxy, uas
from teletrunk_worker.sip.auth import ALGORITHMS
from teletrunk_worker.sip.dialog import Dialog, Dialogs
from teletrunk_worker.sip.message import Request, Response, parse
from teletrunk_worker.sip.registrar import Binding, Registrar
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transaction.server import ServerTransactions
from teletrunk_worker.sip.transport.flow import Address, Flow
from teletrunk_worker.sip.transport.tcp import TcpFlow, TcpListener
from teletrunk_worker.sip.transport.udp import UdpEndpoint, answer_flow
from teletrunk_worker.trunks.book import TrunkBook

log = structlog.get_logger()


class SipPort:
    """Binds the sockets and dispatches what comes in."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        address: str,
        port: int,
        public_address: str,
        digest_algorithms: tuple[str, ...] = ALGORITHMS,
        bans: Bans | None = None,
        trunks: TrunkBook | None = None,
    ) -> None:
        self.trunks = trunks or TrunkBook()
        self._gatekeeper = gatekeeper
        self._address = address
        self._port = port
        self._public_address = public_address
        self._transactions = ServerTransactions()
        self._dialogs = Dialogs()
        self.registrar = Registrar()
        self.admission = Admission(gatekeeper, digest_algorithms, bans or Bans())
        self._responder = Responder(self._transactions, self.admission.strangers)
        self._registrations = Registrations(self.admission, self.registrar, self._responder, self.is_just, self.trunks)

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        self._tcp = await TcpListener.bind(self._address, self._port, self.receive, self._on_tcp_close)
        self.port = self._tcp.port  # 0 asks for any free one; UDP then takes the same number
        self._udp = await UdpEndpoint.bind(self._address, self.port, self.receive)
        self._inside = await UdpEndpoint.bind("127.0.0.1", 0, self._receive_from_host)
        routes = Routes(self.registrar, self._inside, self.public, self.flow_of)
        self._stand_in = StandIn(routes)
        self._from_peer = FromPeer(routes, self._dialogs, self._stand_in)
        self._from_host = FromHost(routes, self._dialogs, self.registrar, self._transactions, self._sound_of)
        self._invitations = Invitations(
            self.admission, self._from_peer, self._dialogs, self._transactions, self._responder, self._sound_of
        )
        self._in_dialog = InDialog(self.admission, routes, self._from_peer, self._transactions, self._responder)

    def is_just(self, binding: Binding) -> bool:
        """Whether the trunk, as the Manager has told it last, allows the binding."""
        return self.trunks.find(binding.trunk_id).allows(binding)

    def _sound_of(self, login: str) -> SoundTerms:
        return self.sound_of(self.registrar.trunk_of(login))

    def _on_tcp_close(self, flow: TcpFlow) -> None:
        if flow.proven:
            self.registrar.flow_closed(flow)

    @property
    def public(self) -> Address:
        """Host and port that PBXs know this port by."""
        return self._public_address, self.port

    @property
    def inside_port(self) -> int:
        """The loopback port that SIP hosts use as their outbound proxy."""
        return self._inside.port

    def flow_of(self, token: str) -> Flow | None:
        return self._tcp.flow_of(token) or self._udp.flow_of(token)

    async def close(self) -> None:
        await self._responder.close()
        self._stand_in.close()
        self._transactions.close()
        self._udp.close()
        self._inside.close()
        await self._tcp.close()

    def measure(self) -> None:
        """Sets the gauges."""
        DIALOGS.set(len(self._dialogs))

    # What comes from outside.

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message from a peer. Never raises: whatever a stranger sends must not stop the port."""
        if not data.strip():
            return
        if not self.admission.is_worth_reading(data, flow):
            STRANGERS.labels("unread").inc()
            return
        try:
            message = parse(data)
        except Malformed:
            STRANGERS.labels("malformed").inc()
            return
        try:
            uas.check(message)
            if isinstance(message, Response):
                self._response(message)
            else:
                proxy.note_source(message, *flow.peer)
                self._request(message, answer_flow(flow, message.via), flow)
        except Malformed as error:
            self._responder.unreadable(message, flow, error)
        except Exception as error:
            self._responder.failed(error, message, flow)

    def _response(self, response: Response) -> None:
        dialog = self._from_peer.response(response)
        if dialog is not None:
            self._gatekeeper.heard(dialog.call_id, dialog.leg)
        self._watch(dialog)

    def _request(self, request: Request, way_back: Flow, flow: Flow) -> None:
        dialog = self._dialogs.find(request.call_id)
        if dialog is not None and not dialog.has(request):
            dialog = None
        if request.method == "ACK":
            self._ack(request, way_back, dialog)
        elif request.method == "CANCEL":
            self._cancel(request, way_back)
        elif transaction := self._transactions.find(request):
            transaction.repeat()
        elif dialog is not None:
            self._in_dialog.request(request, way_back, flow, dialog)
        else:
            self._new(request, way_back, flow)

    def _ack(self, request: Request, way_back: Flow, dialog: Dialog | None) -> None:
        """For a refusal of our own it ends the repeating; for a relayed answer it belongs to the host."""
        own = self._transactions.find(request, "INVITE")
        if own is not None and own.ended:
            own.acknowledged()
        elif dialog is not None:
            self._in_dialog.request(request, way_back, way_back, dialog)

    def _cancel(self, request: Request, way_back: Flow) -> None:
        dialog = self._dialogs.find(request.call_id)
        answer: Response | None = uas.no_such_dialog(request)
        if dialog is not None and not dialog.from_host and proxy.is_cancel_of(request, dialog.invite):
            answer = self._from_peer.in_dialog(request, way_back, dialog)
        elif self._invitations.cancel(request, way_back):
            answer = None
        if answer is not None:
            self._responder.answer(request, way_back, answer)

    def _new(self, request: Request, way_back: Flow, flow: Flow) -> None:
        """Outside of any dialog."""
        if (answer := self._plain_answer(request)) is not None:
            self._responder.answer(request, way_back, answer)
            return
        given = self.admission.credentials(request, flow)
        if isinstance(given, Response):
            self._responder.answer(request, way_back, given)
            return
        if request.method == "INVITE" and (refusal := self._invitations.turned_away(request, way_back, flow, given)):
            self._responder.answer(request, way_back, refusal)
            return
        transaction = self._transactions.create(request, way_back)
        if transaction is None:
            busy = Refusal("manager-unreachable", "too many requests at once")
            self._responder.answer(request, way_back, refuse(request, busy))
        elif request.method == "REGISTER":
            self._registrations.begin(request, flow, transaction, given)
        else:
            self._invitations.begin(request, way_back, flow, transaction, given)

    def _plain_answer(self, request: Request) -> Response | None:
        """The answer to what needs nobody to be asked; None for a REGISTER or INVITE that may be let in."""
        if (refusal := uas.objection(request)) is not None:
            return refusal
        if request.to.tag:
            return uas.no_such_dialog(request)
        if request.method == "OPTIONS":
            return uas.options(request)
        if request.method not in ("REGISTER", "INVITE"):
            return uas.not_allowed(request)
        if request.method == "INVITE" and self._invitations.is_known(request.call_id):
            return uas.respond(request, 482, "Loop Detected")  # it came by two ways (RFC 3261 8.2.2.2)
        return None

    # What comes from our own hosts.

    def _receive_from_host(self, data: bytes, flow: Flow) -> None:
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._watch(self._from_host.response(message))
            elif (refusal := self._from_host.request(message, flow)) is not None:
                flow.send(bytes(refusal))
        except Malformed as error:  # of what a peer has written, or Telegram's names
            log.warning("a SIP host says what cannot be read", why=shown(str(error)))
        except Exception:
            log.exception("a SIP host's message met an error of ours")

    def _watch(self, dialog: Dialog | None) -> None:
        """An INVITE that was refused on its way: the call must know, whatever its host says."""
        if dialog is not None and dialog.finished_at and dialog.last_status >= 300:
            self._gatekeeper.refused(dialog.call_id, dialog.leg, dialog.last_status, dialog.last_phrase)

    # What calls ask.

    def offered_telephone_event(self, call_id: str, leg: str) -> bool:
        """Whether the peer's SDP names RFC 4733's digits."""
        dialog = self._dialogs.of_leg(call_id, leg)
        said = (dialog.established if dialog.from_host else dialog.invite) if dialog is not None else None
        return said is not None and b"telephone-event" in said.body

    def sound_of(self, trunk_id: str) -> SoundTerms:
        return self.trunks.find(trunk_id).sound

    def speak_for_dead_host(self, call_id: str, leg: str, refusal: Refusal) -> None:
        """Ends a leg's dialog towards the peer when the host that carried it is gone, or does not end it."""
        dialog = self._dialogs.of_leg(call_id, leg)
        if dialog is not None and (answer := self._stand_in.end(dialog, refusal)) is not None:
            invite = dialog.invite  # its transaction may be forgotten: it has rung for long
            way_back = answer_flow(dialog.flow, invite.via)
            transaction = self._transactions.find(invite) or self._transactions.create(invite, way_back)
            if transaction is not None:
                transaction.answer(answer)

    def leg_is_over(self, call_id: str, leg: str, *, elsewhere: bool = False) -> None:
        """The call has done with this leg: an INVITE of it that nobody has answered keeps no dialog."""
        if (dialog := self._dialogs.of_leg(call_id, leg)) is not None:
            dialog.elsewhere = elsewhere
            self._stand_in.release(dialog)
