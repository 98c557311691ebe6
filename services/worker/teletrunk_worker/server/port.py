"""The Worker's public SIP port: reads what comes in, and gives it to the layer that it is for.

REGISTER and OPTIONS are answered here. A call that the policy lets in is relayed to the SIP host that carries it, as
a record-routing proxy does, and stays on its way until it ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import structlog
from teletrunk.errors import Refusal
from teletrunk.metrics import DIALOGS, STRANGERS

from teletrunk_worker.policy.admission import Admission, Gatekeeper, shown, too_many_at_once
from teletrunk_worker.policy.bans import Bans, Network
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.relay import srtp
from teletrunk_worker.relay.challenges import Challenges
from teletrunk_worker.relay.faces import Faces
from teletrunk_worker.relay.from_host import FromHost
from teletrunk_worker.relay.from_peer import FromPeer
from teletrunk_worker.relay.routes import Routes, binding_id_at
from teletrunk_worker.relay.stand_in import StandIn
from teletrunk_worker.server.in_dialog import InDialog
from teletrunk_worker.server.invitations import Asked, Invitations
from teletrunk_worker.server.registrations import Registrations
from teletrunk_worker.server.responder import Responder
from teletrunk_worker.server.transfers import Transfers
from teletrunk_worker.sip import answers, body, proxy, uas
from teletrunk_worker.sip.auth import ALGORITHMS
from teletrunk_worker.sip.dialog import Dialog, Dialogs
from teletrunk_worker.sip.digest_client import Account
from teletrunk_worker.sip.message import Request, Response, parse
from teletrunk_worker.sip.registrar import Binding, Registrar
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transaction.client import ClientTransactions
from teletrunk_worker.sip.transaction.server import ServerTransaction, ServerTransactions
from teletrunk_worker.sip.transport.flow import Address, Flow, plain
from teletrunk_worker.sip.transport.locate import DnsResolver, Place, Resolver
from teletrunk_worker.sip.transport.sockets import bound
from teletrunk_worker.sip.transport.tcp import TcpFlow
from teletrunk_worker.sip.transport.tls import Certificates
from teletrunk_worker.sip.transport.transports import Transports
from teletrunk_worker.sip.transport.udp import UdpEndpoint, answer_flow
from teletrunk_worker.trunks.book import TrunkBook
from teletrunk_worker.trunks.pbxs import Pbxs

log = structlog.get_logger()


class SipPort:
    """Binds the sockets and dispatches what comes in."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        address: str,
        port: int,
        public_addresses: Sequence[str],
        digest_algorithms: tuple[str, ...] = ALGORITHMS,
        bans: Bans | None = None,
        trunks: TrunkBook | None = None,
        certificates: Certificates | None = None,
        tls_address: Address | None = None,
        resolver: Resolver | None = None,
        local_networks: Sequence[Network] = (),
    ) -> None:
        """`public_addresses` are what PBXs know it by, the first one also those of a family that has none of its own;
        those in `local_networks` know it by the address of this machine that faces them.

        Over TLS, at `tls_address`, when there are certificates. `resolver` finds the PBXs that do not register.
        """
        self._tls_address = tls_address
        self._transports = Transports(self.receive, self._on_close, certificates)
        self.trunks = trunks or TrunkBook()
        self._gatekeeper = gatekeeper
        self._address = address
        self._port = port
        self._public_addresses = public_addresses
        self._local_networks = local_networks
        self._transactions = ServerTransactions()
        self.dialogs = Dialogs()
        self._requests = ClientTransactions()
        self.is_host: Callable[[int], bool] = lambda port: True  # whoever starts hosts knows their ports
        self.registrar = Registrar()
        self.resolver: Resolver = resolver or DnsResolver()
        self.admission = Admission(gatekeeper, digest_algorithms, bans or Bans())
        self.pbxs = Pbxs(self.registrar, self.trunks, self, self.admission.known.note)
        self._responder = Responder(self._transactions, self.admission.strangers)
        self._registrations = Registrations(self.admission, self.registrar, self._responder, self.is_just, self.trunks)

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        await self._transports.start(self._address, self._port, self._tls_address)
        self.port = self._transports.port
        own = await bound("127.0.0.1", 0, socket.SOCK_DGRAM)
        self._inside = await UdpEndpoint.on(own, self._receive_from_host)
        inside = "127.0.0.1", self._inside.port
        faces = self._faces = Faces(
            self._public_addresses, self._address, self._local_networks, self._transports.port_of, inside
        )
        routes = self._routes = Routes(self.registrar, self._inside, faces, self.flow_of, self.pbxs.is_at)
        challenges = Challenges(self._account_of)
        self._stand_in = StandIn(routes, self._requests, challenges)
        self._from_peer = FromPeer(routes, self.dialogs, self._stand_in, challenges)
        self._from_host = FromHost(routes, self.dialogs, self.registrar, self._transactions, self._sound_of, challenges)
        self._invitations = Invitations(
            self.admission,
            self._gatekeeper,
            self._from_peer,
            self.dialogs,
            self._transactions,
            self._responder,
            self._sound_of,
        )
        transfers = Transfers(self._gatekeeper, self.registrar, self.dialogs, self.trunks, faces)
        self._in_dialog = InDialog(
            self.admission,
            routes,
            self._from_peer,
            self._transactions,
            self._responder,
            transfers,
            self._gatekeeper,
        )

    def is_just(self, binding: Binding) -> bool:
        """Whether the trunk, as the Manager has told it last, allows the binding."""
        return self.trunks.find(binding.trunk_id).allows(binding)

    def _account_of(self, login: str) -> Account | None:
        """What our calls to a PBX that challenges them are answered with."""
        trunk = self.trunks.find(self.registrar.trunk_of(login))
        pbx = trunk.options.pbx
        name = pbx.auth_username or pbx.username
        return Account(name, trunk.pbx_password) if name and trunk.pbx_password else None

    def _sound_of(self, login: str) -> SoundTerms:
        return self.sound_of(self.registrar.trunk_of(login))

    def _on_close(self, flow: TcpFlow) -> None:
        if flow.proven:
            self.registrar.flow_closed(flow)

    @property
    def tls_port(self) -> int:
        """0: nobody can come by TLS."""
        return self._transports.tls_port

    def face(self, flow: Flow) -> Address:
        """Where the peer of this flow comes back to."""
        return self._faces.at(flow)

    def name(self, flow: Flow) -> Address:
        """Host and port that identities of ours have for the peer of this flow."""
        return self._faces.name(flow)

    @property
    def inside_port(self) -> int:
        """The loopback port that SIP hosts use as their outbound proxy."""
        return self._inside.port

    @property
    def requests(self) -> ClientTransactions:
        """What we ask by ourselves."""
        return self._requests

    async def flow_to(self, place: Place, *, any_certificate: bool) -> Flow:
        """A way to a PBX that does not come to us. Raises OSError."""
        return await self._transports.flow_to(place, any_certificate=any_certificate)

    def flow_of(self, token: str) -> Flow | None:
        return self._transports.flow_of(token)

    async def close(self) -> None:
        await self.pbxs.close()
        await self._responder.close()
        self._requests.close()
        self._transactions.close()
        self._inside.close()
        await self._transports.close()

    def measure(self) -> None:
        """Sets the gauges."""
        DIALOGS.set(len(self.dialogs))

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
            if isinstance(message, Response):
                answers.tidy(message)
            else:
                uas.check(message)
            body.unwrap(message)
        except Malformed as error:
            self._responder.damaged(message, flow, error)
            return
        try:
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
        if self._requests.answered(response):
            return
        dialog = self._from_peer.response(response)
        if dialog is not None:
            self._gatekeeper.heard(dialog.call_id, dialog.leg)
        self._watch(dialog)

    def _request(self, request: Request, way_back: Flow, flow: Flow) -> None:
        dialog = self.dialogs.find(request.call_id)
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
        dialog = self.dialogs.find(request.call_id)
        answer: Response | None = uas.no_such_dialog(request)
        may_ring = dialog is not None and dialog.pending and not dialog.from_host
        if dialog is not None and may_ring and proxy.is_cancel_of(request, dialog.invite):
            answer = self._from_peer.in_dialog(request, way_back, dialog)
        elif self._invitations.cancel(request, way_back):
            answer = None
        elif self._transactions.find(request, "INVITE") is not None:  # it has its answer (RFC 3261 9.2)
            answer = uas.respond(request, 200, "OK")
        if answer is not None:
            self._responder.answer(request, way_back, answer)

    def _new(self, request: Request, way_back: Flow, flow: Flow) -> None:
        """Outside of any dialog."""
        if (answer := self._plain_answer(request)) is not None:
            self._responder.answer(request, way_back, answer)
            return
        known = self.pbxs.whose(request, flow) if request.method == "INVITE" else None
        if known is not None:
            if (refusal := self.admission.objection_to_known(known.trunk.login, flow)) is not None:
                self._responder.answer(request, way_back, refuse(request, refusal))
            else:
                self._invitation(request, way_back, flow, Asked.by_place(known))
            return
        given = self.admission.credentials(request, flow)
        if isinstance(given, Response):
            self._responder.answer(request, way_back, given)
        elif request.method == "INVITE":
            self._invitation(request, way_back, flow, Asked.by_digest(given, request))
        elif transaction := self._transaction(request, way_back):
            self._registrations.begin(request, flow, transaction, given)

    def _invitation(self, request: Request, way_back: Flow, flow: Flow, asked: Asked) -> None:
        if refusal := self._invitations.turned_away(request, way_back, flow, asked):
            self._responder.answer(request, way_back, refusal)
        elif transaction := self._transaction(request, way_back):
            self._invitations.begin(request, way_back, flow, transaction, asked)

    def _transaction(self, request: Request, way_back: Flow) -> ServerTransaction | None:
        """None when there are too many, which has been answered."""
        transaction = self._transactions.create(request, way_back)
        if transaction is None:
            self._responder.answer(request, way_back, refuse(request, too_many_at_once()))
        return transaction

    def _plain_answer(self, request: Request) -> Response | None:
        """The answer to what needs nobody to be asked; None for a REGISTER or INVITE that may be let in."""
        if (refusal := uas.objection(request)) is not None:
            return refusal
        if uas.is_of_dialog(request):
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
        if not self.is_host(flow.peer[1]):
            STRANGERS.labels("inside").inc()
            return
        try:
            message = parse(data)
            if message.flaw:
                raise Malformed(message.flaw)
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

    @property
    def own(self) -> list[Address]:
        """How routes name this port, on either side."""
        return self._routes.own

    def end_left(self, dialog: Dialog, refusal: Refusal) -> bool:
        """Ends what a process before this one has left; false while there is no way to its peer."""
        if self._routes.flow_to(dialog).closed:
            return False
        self.dialogs.add(dialog)
        self.speak_for_dead_host(dialog.call_id, dialog.leg, refusal)
        return True

    def peer_address(self, call_id: str, leg: str) -> str:
        """Where the leg's signalling comes from."""
        dialog = self.dialogs.of_leg(call_id, leg)
        return "" if dialog is None else plain(dialog.flow.peer[0])

    def offered_telephone_event(self, call_id: str, leg: str) -> bool:
        """Whether the peer's latest SDP names RFC 4733's digits."""
        dialog = self.dialogs.of_leg(call_id, leg)
        if dialog is None:
            return False
        said = dialog.established if dialog.from_host else dialog.invite
        return b"telephone-event" in (dialog.described or (said.body if said is not None else b""))

    def cause_of(self, call_id: str, leg: str) -> int:
        """Q.850's, that the peer's BYE has named."""
        dialog = self.dialogs.of_leg(call_id, leg)
        return 0 if dialog is None else dialog.cause

    def refused_answer(self, call_id: str, leg: str) -> Refusal | None:
        dialog = self.dialogs.of_leg(call_id, leg)
        why = dialog and dialog.refused_answer
        return why if isinstance(why, Refusal) else None

    def sound_of(self, trunk_id: str) -> SoundTerms:
        return self.trunks.find(trunk_id).sound

    def objection_to(self, uri: str) -> Refusal | None:
        """Why a binding may not be rung on the way that it has."""
        binding = self.registrar.find(binding_id_at(uri.rpartition("@")[2]))
        return None if binding is None else srtp.refusal_over(binding.flow.transport, self.sound_of(binding.trunk_id))

    def speak_for_dead_host(self, call_id: str, leg: str, refusal: Refusal) -> None:
        """Ends a leg's dialog towards the peer when the host that carried it is gone, or does not end it."""
        dialog = self.dialogs.of_leg(call_id, leg)
        if dialog is not None and (answer := self._stand_in.end(dialog, refusal)) is not None:
            invite = dialog.invite  # its transaction may be forgotten: it has rung for long
            way_back = answer_flow(dialog.flow, invite.via)
            transaction = self._transactions.find(invite) or self._transactions.create(invite, way_back)
            if transaction is not None:
                transaction.answer(answer)

    def leg_is_over(self, call_id: str, leg: str, *, elsewhere: bool = False) -> None:
        """The call has done with this leg: an INVITE of it that nobody has answered keeps no dialog."""
        if (dialog := self.dialogs.of_leg(call_id, leg)) is not None:
            dialog.elsewhere = elsewhere
            self._stand_in.release(dialog)
