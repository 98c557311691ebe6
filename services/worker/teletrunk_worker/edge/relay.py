"""Passes messages between peers and SIP hosts, as a record-routing proxy (RFC 3261 16, RFC 5658).

Each side sees the address of the edge that faces it: peers the public one, hosts the one on loopback. The
branch of our hop is derived from the request, so that retransmissions, CANCEL and ACK need no state.
"""

from __future__ import annotations

from collections.abc import Callable

from sipmessage import Request, Response
from teletrunk.errors import Refusal

from teletrunk_worker.edge import messages
from teletrunk_worker.edge.dialogs import Dialog, Dialogs
from teletrunk_worker.edge.flows import Flow, UdpEndpoint
from teletrunk_worker.edge.registrar import Binding, Registrar

CALL_HEADER = "X-Teletrunk-Call"
BINDING_DOMAIN = "binding.teletrunk.invalid"


def binding_uri(binding: Binding) -> str:
    """What a host dials to reach a registered PBX; the edge puts the real contact in its place.

    The PBX reads this as the To header, so the user is its own login.
    """
    return f"sip:{binding.login}@{binding.binding_id}.{BINDING_DOMAIN}"


def leg_header(call_id: str, leg: str) -> str:
    """The value of the header by which a host's INVITE names the call and the leg that it is."""
    return f"{call_id}/{leg}"


class Relay:
    """Forwards, and speaks for hosts that died."""

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

    # From a peer to a host.

    def invite_to_host(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        """The first INVITE of a call that was let in."""
        forwarded = _copy(request)
        routes = forwarded.record_route
        forwarded.record_route = [
            messages.route_address("127.0.0.1", self._inside.port),
            messages.route_address(*self._public, flow.transport),
            *routes,
        ]
        self._to_host(forwarded, flow, dialog)

    def request_from_peer(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        """Anything of the dialog. The peer may have moved: later requests go where this one came from."""
        dialog.flow = flow
        forwarded = _copy(request)
        if request.method == "BYE":
            dialog.finish()
        messages.drop_own_routes(forwarded, self._own)
        self._to_host(forwarded, flow, dialog)

    def _to_host(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        if not messages.hop(request):
            flow.send(bytes(messages.respond(request, 483, "Too Many Hops")))
            return
        branch = messages.derived_branch(request)
        messages.push_via(request, "UDP", "127.0.0.1", self._inside.port, branch, flow=flow.token)
        self._inside.send(bytes(request), ("127.0.0.1", dialog.host_port))

    def response_from_host(self, response: Response) -> Dialog | None:
        """Back to the peer, on the flow that the request came in on. Returns the dialog that it belongs to."""
        top = messages.pop_via(response)
        flow = self._flow_of(top.parameters.get("flow") or "")
        dialog = self._dialogs.find(response.call_id)
        if response.code == 100 or flow is None:
            return None  # the peer has had our own 100
        was_pending = False
        if dialog is not None:
            was_pending = dialog.pending
            dialog.note_response(response)
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
        if request.method == "BYE":
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
        branch = messages.derived_branch(request)
        if dialog is not None:
            request.uri, flow = dialog.invite.uri, dialog.flow
        else:
            assert binding is not None
            request.uri, flow = binding.contact.uri, binding.flow
        request.headers.remove(CALL_HEADER)
        messages.drop_own_routes(request, self._own)
        if request.method == "INVITE":
            request.record_route = [
                messages.route_address(*self._public, flow.transport),
                messages.route_address("127.0.0.1", self._inside.port),
            ]
        if not self._to_peer(request, flow, branch):
            return messages.respond(request, 480, "Connection to the PBX is gone")
        if dialog is None:
            self._dialogs.add(Dialog(call_id, leg, host.peer[1], flow, request, from_host=True))
        return None

    def _to_peer(self, request: Request, flow: Flow, branch: str) -> bool:
        messages.hop(request)
        messages.push_via(request, flow.transport, *self._public, branch, rport=None)
        return flow.send(bytes(request))

    def response_from_peer(self, response: Response) -> Dialog | None:
        """Back to the host that asked. Returns the dialog whose INVITE this may have ended."""
        dialog = self._dialogs.find(response.call_id)
        if dialog is None or response.via[0].parameters.get("branch", "").startswith("z9hG4bK-tt-dead"):
            return None
        ours = messages.pop_via(response)
        if ours.parameters.get("branch") != messages.derived_branch(response):
            return None  # nobody was asked this
        was_pending = dialog.pending
        if dialog.from_host:
            dialog.note_response(response)
        self._inside.send(bytes(response), ("127.0.0.1", dialog.host_port))
        return dialog if was_pending else None

    # In place of a host.

    def end(self, dialog: Dialog, refusal: Refusal) -> None:
        """The host is gone: BYE for a call that was up, the refusal or CANCEL for one that rang."""
        if dialog.pending and dialog.from_host:
            dialog.flow.send(bytes(dialog.cancel()))
        elif dialog.pending:
            dialog.flow.send(bytes(messages.refuse(dialog.invite, refusal)))
        elif bye := dialog.bye(refusal.sip_headers()[0], self._own):
            branch = messages.new_branch().replace("tt-", "tt-dead-", 1)  # its answer is for nobody
            messages.push_via(bye, dialog.flow.transport, *self._public, branch, rport=None)
            dialog.flow.send(bytes(bye))
        dialog.finish()


def _copy(request: Request) -> Request:
    """Forwarding changes the message; what is kept for later stays as it came."""
    copy = Request(request.method, request.uri, request.body)
    for name in request.headers.keys():  # noqa: SIM118  Headers has no iterator
        copy.headers.setlist(name, list(request.headers.getlist(name)))
    return copy
