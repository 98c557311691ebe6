"""REGISTER: who has shown a trunk's password says where its PBX is (RFC 3261 10)."""

from __future__ import annotations

from collections.abc import Callable

from teletrunk.errors import Refusal
from teletrunk.metrics import REGISTERS

from teletrunk_worker.policy.admission import NOT_THEIRS, Admission, Registered
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.server.responder import Responder
from teletrunk_worker.sip import outbound, uas
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.outbound import FirstHopLacksOutbound
from teletrunk_worker.sip.registrar import SHORTEST_S, BadContact, Binding, IntervalTooBrief, Registrar
from teletrunk_worker.sip.scanner import quoted
from teletrunk_worker.sip.transaction.server import ServerTransaction
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.trunks.book import TrunkBook

_FLOW_TIMER_S = 120  # RFC 5626 4.4: a client that is silent for longer may find its connection gone


class Registrations:
    def __init__(
        self,
        admission: Admission,
        registrar: Registrar,
        responder: Responder,
        is_just: Callable[[Binding], bool],
        trunks: TrunkBook,
    ) -> None:
        """`is_just` says of a binding whether the trunk, as it is known by now, allows it."""
        self._is_just = is_just
        self._trunks = trunks
        self._admission = admission
        self._registrar = registrar
        self._responder = responder

    def begin(self, request: Request, flow: Flow, transaction: ServerTransaction, credentials: Credentials) -> None:
        """`flow` is where the request came from, and where calls will go."""
        self._responder.run(self._register(request, flow, transaction, credentials), request, flow)

    async def _register(
        self, request: Request, flow: Flow, transaction: ServerTransaction, credentials: Credentials
    ) -> None:
        try:
            registered = await self._admission.register(credentials, flow)
        except Refusal as refusal:
            REGISTERS.labels(refusal.row.id).inc()
            if refusal.row.id in NOT_THEIRS:
                self._registrar.drop(credentials.username, flow)
            transaction.answer(self._admission.answer(request, refusal, flow))
            return
        trunk = self._trunks.find(registered.trunk_id)
        if (objection := trunk.objection_to(flow.transport)) is None:
            transaction.answer(self._bind(request, flow, registered))
            return
        REGISTERS.labels(objection.row.id).inc()
        self._admission.registration_refused(credentials, flow, objection)
        transaction.answer(refuse(request, objection))

    def _bind(self, request: Request, flow: Flow, trunk: Registered) -> Response:
        try:
            keeps_flow = outbound.is_kept(request, flow.transport)
            bindings = self._registrar.register(request, trunk.trunk_id, trunk.login, flow, trunk.password_revision)
        except IntervalTooBrief:
            return uas.respond(request, 423, "Interval Too Brief", [("Min-Expires", str(SHORTEST_S))])
        except FirstHopLacksOutbound:
            return uas.respond(request, 439, "First Hop Lacks Outbound Support")
        except BadContact as error:
            return refuse(request, Refusal("bad-request", str(error)))
        if not all(self._is_just(binding) for binding in bindings):  # the trunk was changed while we asked
            self._registrar.keep(self._is_just, [trunk.trunk_id])
            return refuse(request, Refusal("wrong-password"))
        REGISTERS.labels("ok").inc()
        return uas.respond(request, 200, "OK", _headers(request, bindings, keeps_flow=keeps_flow))


def _headers(request: Request, bindings: list[Binding], *, keeps_flow: bool) -> list[tuple[str, str]]:
    headers = [("Contact", _contact(binding)) for binding in bindings]
    headers += [("Path", entry) for entry in request.entries("Path")]  # RFC 3327 5.3
    if keeps_flow:
        headers.append(("Require", "outbound"))  # RFC 5626 6
        if outbound.is_direct(request):  # else it is the proxy that says when it looks
            headers.append(("Flow-Timer", str(_FLOW_TIMER_S)))
    return headers


def _contact(binding: Binding) -> str:
    named = ""
    if binding.instance is not None:
        name, number = binding.instance
        named = f";+sip.instance={quoted(name)};reg-id={number}"
    return f"<{binding.contact.uri.text}>{named};expires={binding.seconds_left}"
