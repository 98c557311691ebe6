"""The two sides that messages go to: peers at their flows, SIP hosts on loopback. Each side sees our address there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from teletrunk_worker.relay import host_limits, secure_names
from teletrunk_worker.relay.faces import Faces
from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import MOST_ENTRIES, Message, Request, Response
from teletrunk_worker.sip.registrar import Binding, Registrar
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.sip.transport.udp import UdpEndpoint
from teletrunk_worker.sip.uri import Uri, escaped, with_user

CALL_HEADER: Final = "X-Teletrunk-Call"
BINDING_DOMAIN: Final = "binding.teletrunk.invalid"
_NUMBER_LABEL = "number"
_LOOPBACK = "127.0.0.1"
_WARNED_BY = re.compile(r'([0-9]{3})[ \t]++[^\s",]++[ \t]++(?=")')


def binding_uri(binding: Binding, number: str = "") -> str:
    """What a host dials to reach a registered PBX, or `number` there; the contact is put in its place on the way.

    The PBX reads this as the To header, so the user is the number, or its own login.
    """
    if number:
        return f"sip:{escaped(number)}@{binding.binding_id}.{_NUMBER_LABEL}.{BINDING_DOMAIN}"
    return f"sip:{binding.login}@{binding.binding_id}.{BINDING_DOMAIN}"


def binding_id_at(host: str) -> str:
    """Of the host in what `binding_uri` has made."""
    return host.partition(".")[0]


def target_at(binding: Binding, dialled: Uri) -> str:
    """The Request-URI for what `binding_uri` has made."""
    if dialled.host.partition(".")[2] == f"{_NUMBER_LABEL}.{BINDING_DOMAIN}":
        return with_user(binding.contact.uri, dialled.user)
    return binding.contact.uri.target


def leg_header(call_id: str, leg: str) -> str:
    """The value of the header by which a host's INVITE names the call and the leg that it is."""
    return f"{call_id}/{leg}"


class Routes:
    """Where we are, and how each side is reached."""

    def __init__(
        self,
        registrar: Registrar,
        inside: UdpEndpoint,
        faces: Faces,
        flow_of: Callable[[str], Flow | None],
        is_at: Callable[[str, str], bool],
    ) -> None:
        """`is_at` says whether a login's PBX is known to be at an address, though it does not register."""
        self._is_at = is_at
        self._registrar = registrar
        self._inside = inside
        self._flow_of = flow_of
        self._faces = faces
        self.own = faces.own
        self.addresses = frozenset(faces.public)  # that PBXs know this port by

    # Hosts.

    def to_host(self, message: Message, dialog: Dialog) -> None:
        if message.cseq.method in host_limits.TARGET_REFRESH and message.contacts:  # its target from now on
            dialog.peer_is_secure = secure_names.names_one(message)
        if len(data := bytes(secure_names.for_host(message))) <= host_limits.LARGEST_MESSAGE:
            self._inside.send(data, (_LOOPBACK, dialog.host_port))

    def end_of_asking(self, dialog: Dialog) -> None:
        """Before the dialog ends: what the host has asked in it is answered."""
        if (answer := dialog.end_of_asking()) is not None:
            self.to_host(answer, dialog)

    def via_for_host(self, request: Request, flow: Flow) -> None:
        """Our hop on the way to a host. It names the flow that the answer goes back on."""
        proxy.hop(request)
        branch = proxy.derived_branch(request)
        proxy.push_via(request, "UDP", _LOOPBACK, self._inside.port, branch, f";flow={flow.token}")

    # Peers.

    def flow_to(self, dialog: Dialog) -> Flow:
        """The way to the dialog's peer. When its connection is gone: the one on which it has registered since."""
        if dialog.flow.closed:
            live = [binding.flow for binding in self._registrar.of_login(dialog.login) if not binding.flow.closed]
            same_host = [flow for flow in live if flow.peer[0] == dialog.flow.peer[0]]
            dialog.move(next(iter([*same_host, *live]), dialog.flow))
        return dialog.flow

    def flow_for_answer(self, token: str, dialog: Dialog | None) -> Flow | None:
        """The flow that a request came in on, or what has taken its place."""
        flow = self._flow_of(token)
        if dialog is not None and (flow is None or flow.closed):
            return self.flow_to(dialog)
        return flow

    def is_way_of(self, flow: Flow, dialog: Dialog) -> bool:
        """Whether the dialog's peer is known to be there: it may have moved to where it has registered."""
        peers = [dialog.flow.peer, *(binding.flow.peer for binding in self._registrar.of_login(dialog.login))]
        return flow.peer[0] in {peer[0] for peer in peers} or self._is_at(dialog.login, flow.peer[0])

    def to_peer(self, request: Request, flow: Flow, branch: str) -> bool:
        """Sends a host's request on; false when the flow is gone."""
        self.face_peer(request, flow, secure=secure_names.is_secure(request.target))
        self.via_for_peer(request, flow, branch)
        return flow.send(bytes(request))

    def via_for_peer(self, request: Request, flow: Flow, branch: str) -> None:
        """Our hop on the way to a peer."""
        proxy.push_via(request, flow.transport, *self._faces.at(flow), branch, ";rport")

    def face_peer(self, message: Message, flow: Flow, *, secure: bool) -> None:
        """Hosts name the public address to everybody: a peer beside us is told the one that it reaches. In Warnings
        (RFC 3261 20.43) they name the machine that they run on, which is no peer's business.

        `secure`: it is a dialog of `sips:` addresses.
        """
        host = self._faces.beside(flow)
        if message.headers.get("Contact") and (host or secure):
            message.headers.set("Contact", self._faces.contact(flow, secure=secure))
        if host:
            host_limits.sound_at(message, self._faces.for_sound(host))
        if warnings := message.headers.getlist("Warning"):
            message.headers.setlist("Warning", [_WARNED_BY.sub(r"\1 teletrunk ", warning) for warning in warnings])

    def record(self, request: Request, flow: Flow, *, towards_peer: bool) -> None:
        """Puts us on the way of the dialog, once for each side (RFC 5658). What faces the receiver is on top."""
        faces = [
            proxy.route_address(_LOOPBACK, self._inside.port),
            proxy.route_address(*self._faces.at(flow), flow.transport),
        ]
        for face in faces if towards_peer else reversed(faces):
            request.headers.insert("Record-Route", face)

    def stay_on_way(self, response: Response, dialog: Dialog) -> None:
        """Whatever the peer has recorded in its answer to a host's INVITE, the host's way begins with us: it would look
        for another first hop by itself, which holds up its only thread, or speak to any port of this machine."""
        others = [route.text for route in response.addresses("Record-Route") if not proxy.is_own(route, self.own)]
        ours = dialog.invite.headers.getlist("Record-Route")
        response.headers.setlist("Record-Route", [*others[: MOST_ENTRIES - len(ours)], *ours])
