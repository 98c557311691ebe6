"""Passes messages between peers and SIP hosts, as a record-routing proxy (RFC 3261 16, RFC 5658).

Each side sees the address of the edge that faces it: peers the public one, hosts the one on loopback. The
branch of our hop is derived from the request, so that retransmissions, CANCEL and ACK need no state.
What a host cannot take, because pjsua stops at it, never reaches one: it is refused, or ended, here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from teletrunk.errors import Refusal

from teletrunk_worker.edge import host_limits, messages
from teletrunk_worker.edge.dialogs import MOST_ANSWERERS, Dialog, Dialogs
from teletrunk_worker.edge.flows import Flow, UdpEndpoint
from teletrunk_worker.edge.registrar import Binding, Registrar
from teletrunk_worker.edge.transactions import ClientTransactions
from teletrunk_worker.sip.message import Request, Response

CALL_HEADER = "X-Teletrunk-Call"
BINDING_DOMAIN = "binding.teletrunk.invalid"
_HOSTS_CANCEL_S = 0.5
_CANCELLED = host_limits.Objection(487, "Request Terminated")


def binding_uri(binding: Binding) -> str:
    """What a host dials to reach a registered PBX; the edge puts the real contact in its place.

    The PBX reads this as the To header, so the user is its own login.
    """
    return f"sip:{binding.login}@{binding.binding_id}.{BINDING_DOMAIN}"


def leg_header(call_id: str, leg: str) -> str:
    """The value of the header by which a host's INVITE names the call and the leg that it is."""
    return f"{call_id}/{leg}"


class Relay:
    """Forwards, and speaks for hosts that died or cannot."""

    def __init__(
        self,
        dialogs: Dialogs,
        registrar: Registrar,
        inside: UdpEndpoint,
        public: tuple[str, int],
        flow_of: Callable[[str], Flow | None],
    ) -> None:
        self._dialogs = dialogs
        self._registrar = registrar
        self._inside = inside
        self._public = public
        self._flow_of = flow_of
        self._own = [public, ("127.0.0.1", inside.port)]
        self._requests = ClientTransactions()

    def close(self) -> None:
        self._requests.close()

    # From a peer to a host.

    def objection(self, invite: Request, flow: Flow) -> Response | None:
        """The refusal of a first INVITE that no host could take; None when one can."""
        return _refusal(invite, self._first_for_host(invite, flow, "x" * host_limits.LONGEST_LEG_HEADER))

    def invite_to_host(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        """The first INVITE of a call that was let in."""
        forwarded = self._first_for_host(request, flow, leg_header(dialog.call_id, dialog.leg))
        host_limits.simplify(forwarded)
        self._to_host(forwarded, dialog)

    def _first_for_host(self, request: Request, flow: Flow, leg: str) -> Request:
        forwarded = request.copy()
        forwarded.headers.remove("Authorization", "Proxy-Authorization", CALL_HEADER)
        forwarded.headers.insert("Record-Route", messages.route_address(*self._public, flow.transport))
        forwarded.headers.insert("Record-Route", messages.route_address("127.0.0.1", self._inside.port))
        self._take_hop(forwarded, flow)
        forwarded.headers.insert(CALL_HEADER, leg)  # first of all: what is cut off at the end is not ours
        return forwarded

    def request_from_peer(self, request: Request, flow: Flow, dialog: Dialog) -> Response | None:
        """Anything of the dialog. The peer may have moved: later requests go where this one came from.

        Returns the refusal of what the host could not take.
        """
        dialog.flow = flow
        if dialog.host_gone and request.method in ("BYE", "CANCEL"):
            dialog.finish()
            return messages.respond(request, 200, "OK")
        forwarded = request.copy()
        forwarded.headers.remove(CALL_HEADER)
        if request.method not in host_limits.WITH_BODY:
            host_limits.strip_body(forwarded)
        messages.drop_own_routes(forwarded, self._own)
        self._take_hop(forwarded, flow)
        if (refusal := _refusal(request, forwarded)) is None:
            self._to_host(forwarded, dialog)
        elif request.method == "ACK":  # nobody answers it: the host misses the description and ends the call
            host_limits.strip_body(forwarded)
            host_limits.simplify(forwarded)
            self._to_host(forwarded, dialog)
        else:
            return refusal
        return None

    def _take_hop(self, request: Request, flow: Flow) -> None:
        messages.hop(request)
        branch = messages.derived_branch(request)
        messages.push_via(request, "UDP", "127.0.0.1", self._inside.port, branch, f";flow={flow.token}")

    def _to_host(self, request: Request, dialog: Dialog) -> None:
        if len(data := bytes(request)) <= host_limits.LARGEST_MESSAGE:
            self._inside.send(data, ("127.0.0.1", dialog.host_port))

    def response_from_host(self, response: Response) -> Dialog | None:
        """Back to the peer, on the flow that the request came in on. Returns the dialog that it belongs to."""
        top = messages.pop_via(response)
        flow = self._flow_of(top.parameters.get("flow") or "")
        dialog = self._dialogs.find(response.call_id)
        if response.code == 100 or flow is None:
            return None  # the peer has had our own 100
        if dialog is not None and dialog.host_gone:
            return None  # it hung and is back: the edge has answered in its place
        was_pending = False
        if dialog is not None:
            was_pending = dialog.pending
            dialog.note_response(response)
            if response.cseq.method == "BYE" and dialog.is_established_with(response.from_.tag):  # now the host has it
                dialog.finish()
        flow.send(bytes(response))
        return dialog if was_pending else None

    # From a host to a peer.

    def request_from_host(self, request: Request, host: Flow) -> Response | None:
        """Returns the refusal that the host gets when there is no way to the peer."""
        if request.uri.host.endswith(f".{BINDING_DOMAIN}"):
            return self._invite_binding(request, host)
        dialog = self._dialogs.find(request.call_id)
        if dialog is None:
            return None if request.method == "ACK" else messages.respond(request, 481, "Dialog is not known")
        if request.method == "BYE" and dialog.is_established_with(request.to.tag):
            dialog.finish()
        messages.drop_own_routes(request, self._own)
        sent = self._to_peer(request, dialog.flow, messages.derived_branch(request))
        return None if sent or request.method == "ACK" else messages.respond(request, 480, "Connection is gone")

    def _invite_binding(self, request: Request, host: Flow) -> Response | None:
        """A host's INVITE (or its CANCEL, or the ACK of a refusal) to a registered PBX."""
        binding = self._registrar.find(request.uri.host.partition(".")[0])
        dialog = self._dialogs.find(request.call_id)
        call_id, _, leg = (request.headers.get(CALL_HEADER) or "").partition("/")
        if dialog is None and (binding is None or request.method != "INVITE"):
            return None if request.method == "ACK" else messages.respond(request, 480, "PBX is not registered")
        if dialog is None and not leg:  # the host calls by itself: whoever made it do so, no call of ours wants it
            return messages.respond(request, 403, "No call has dialled this")
        if dialog is not None and request.method == "ACK" and (dialog.declined or dialog.host_gone):
            return None  # of the refusal that the host was given in place of an answer: the peer knows nothing of it
        branch = messages.derived_branch(request)
        if dialog is not None:
            request.target, flow = dialog.invite.target, dialog.flow
            dialog.cancelled = dialog.cancelled or request.method == "CANCEL"
        else:
            assert binding is not None
            request.target, flow = binding.contact.uri.text, binding.flow
        request.headers.remove(CALL_HEADER)
        messages.drop_own_routes(request, self._own)
        if request.method == "INVITE":
            # No reliable 183, whose description would have to reach the host; and nobody replaces a call of ours.
            request.headers.set("Supported", "timer, norefersub")
            for route in (
                messages.route_address("127.0.0.1", self._inside.port),
                messages.route_address(*self._public, flow.transport),
            ):
                request.headers.insert("Record-Route", route)
        if not self._to_peer(request, flow, branch):
            return messages.respond(request, 480, "Connection to the PBX is gone")
        if dialog is None:
            self._dialogs.add(Dialog(call_id, leg, host.peer[1], flow, request, from_host=True))
        return None

    def _to_peer(self, request: Request, flow: Flow, branch: str) -> bool:
        messages.hop(request)
        messages.push_via(request, flow.transport, *self._public, branch, ";rport")
        return flow.send(bytes(request))

    def response_from_peer(self, response: Response) -> Dialog | None:
        """Back to the host that asked. Returns the dialog whose INVITE this may have ended."""
        if self._requests.answered(response):
            return None
        dialog = self._dialogs.find(response.call_id)
        if dialog is None:
            return None
        ours = messages.pop_via(response)
        if ours.branch != messages.derived_branch(response):
            return None  # nobody was asked this
        was_pending = dialog.pending
        if response.cseq.method == "INVITE" and dialog.from_host:
            if not self._keep_from_host(response, dialog):
                self._inside.send(bytes(response), ("127.0.0.1", dialog.host_port))
            dialog.note_response(response)
        else:
            host_limits.fit(response)
            if objection := host_limits.objection_to(response):  # to what a host asks within a dialog
                ends = response.cseq.method == "INVITE"
                host_limits.turn_into(response, 481 if ends else objection.status, objection.phrase)
            self._inside.send(bytes(response), ("127.0.0.1", dialog.host_port))
        return dialog if was_pending else None

    def _keep_from_host(self, response: Response, dialog: Dialog) -> bool:
        """Whether the edge has dealt with this answer to a host's INVITE, alone or by refusing it to the host."""
        if dialog.host_gone:
            self._answer_for_dead_host(response, dialog)
            return True
        host_limits.fit(response)
        if not 200 <= response.code < 300:
            return not host_limits.is_short_enough(response)
        first, late = dialog.is_first_invites(response), dialog.finished_at and dialog.established is None
        objection = _CANCELLED if first and (dialog.cancelled or late) else host_limits.objection_to(response)
        if objection is None and response.to.tag not in dialog.declined:
            return False
        repeated = response.to.tag in dialog.declined
        self._decline(response, dialog)
        if objection is not None and not repeated:
            status, phrase = (objection.status, objection.phrase) if first else (481, "Dialog was ended")
            host_limits.turn_into(response, status, phrase)
            host_limits.fit(response)
            self._inside.send(bytes(response), ("127.0.0.1", dialog.host_port))
        return True

    def _answer_for_dead_host(self, response: Response, dialog: Dialog) -> None:
        dialog.heard_out = dialog.heard_out or response.code >= 200
        if 200 <= response.code < 300:
            self._decline(response, dialog)
        elif response.code >= 300:
            dialog.flow.send(bytes(dialog.ack_of_refusal(response)))
        elif not dialog.cancelled:  # a CANCEL may follow now that there is a provisional answer (RFC 3261 9.1)
            self._requests.send(dialog.cancel(), dialog.flow)

    def _decline(self, answer: Response, dialog: Dialog) -> None:
        """Acknowledges a 2xx that no host wants, and ends what it has begun; a repetition is acknowledged again."""
        tag = answer.to.tag
        if tag not in dialog.declined:
            if len(dialog.declined) >= MOST_ANSWERERS:
                return
            ack = dialog.ack(answer, self._own)
            bye = dialog.bye(answer, ("Reason", 'SIP;cause=487;text="Request Terminated"'), self._own)
            if ack is None or bye is None:  # it says no address: nobody can be told
                dialog.declined[tag] = b""
                return
            messages.push_via(ack, dialog.flow.transport, *self._public, messages.new_branch(), ";rport")
            dialog.declined[tag] = bytes(ack)
            dialog.flow.send(bytes(ack))
            self._say(bye, dialog)
        elif dialog.declined[tag]:
            dialog.flow.send(dialog.declined[tag])

    def _say(self, request: Request, dialog: Dialog) -> None:
        """A request of the edge's own to the peer."""
        branch = messages.new_branch()
        messages.push_via(request, dialog.flow.transport, *self._public, branch, ";rport")
        self._requests.send(request, dialog.flow)

    # In place of a host.

    def release(self, dialog: Dialog) -> None:
        """The call is done with this leg. An INVITE that the peer has not answered for good keeps no host's place.

        The host is told that it is over, which it would otherwise wait for half a minute; the edge hears the peer out.
        Its CANCEL, if it has heard a provisional answer, is on its way; if it had not read that yet, ours follows.
        """
        if dialog.pending and dialog.from_host and not dialog.host_gone:
            dialog.host_gone = True
            self._inside.send(
                bytes(dialog.refusal_for_host(487, "Request Terminated")), ("127.0.0.1", dialog.host_port)
            )
            if dialog.last_status:
                asyncio.get_running_loop().call_later(_HOSTS_CANCEL_S, self._cancel_for_host, dialog)
        dialog.finish()

    def _cancel_for_host(self, dialog: Dialog) -> None:
        if not (dialog.cancelled or dialog.heard_out):
            self._requests.send(dialog.cancel(), dialog.flow)

    def end(self, dialog: Dialog, refusal: Refusal) -> Response | None:
        """The host is gone: BYE for a call that was up, CANCEL for one that rang, the refusal for one that came.

        Returns that refusal, which is the answer to the dialog's INVITE.
        """
        answer: Response | None = None
        if dialog.finished_at:
            pass
        elif dialog.established is not None:
            if bye := dialog.bye(dialog.established, refusal.sip_headers()[0], self._own):
                self._say(bye, dialog)
        elif not dialog.from_host:
            answer = messages.refuse(dialog.invite, refusal)
        elif dialog.last_status:
            self._requests.send(dialog.cancel(), dialog.flow)
        dialog.host_gone = True
        dialog.finish()
        return answer


def _refusal(request: Request, forwarded: Request) -> Response | None:
    """What a peer hears whose request the host could not take; what it could take is made fit for it."""
    if request.method != "ACK" and request.number("Max-Forwards") == 0:
        return messages.respond(request, 483, "Too Many Hops")
    found = host_limits.objection_to(forwarded)
    if found is not None:
        return messages.respond(request, found.status, found.phrase, found.headers)
    host_limits.simplify(forwarded)
    return None
