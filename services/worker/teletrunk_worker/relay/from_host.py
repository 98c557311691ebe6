"""Messages from SIP hosts to peers: their own requests within a call, INVITEs to bindings, and all answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from teletrunk_worker.relay import host_limits, secure_names
from teletrunk_worker.relay.challenges import Challenges
from teletrunk_worker.relay.routes import BINDING_DOMAIN, CALL_HEADER, Routes, binding_id_at, target_at
from teletrunk_worker.sip import proxy, uas
from teletrunk_worker.sip.dialog import ELSEWHERE, NO_DUTY, Dialog, Dialogs
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.registrar import Registrar
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transaction.server import ServerTransactions
from teletrunk_worker.sip.transport.flow import Flow

ANSWERED_S: Final = 16.0  # half of what the host waits (RFC 3261 17.1.2.2)


class FromHost:
    def __init__(
        self,
        routes: Routes,
        dialogs: Dialogs,
        registrar: Registrar,
        transactions: ServerTransactions,
        sound_of: Callable[[str], SoundTerms],
        challenges: Challenges,
    ) -> None:
        """`sound_of` says what sound the trunk with a login has."""
        self._challenges = challenges
        self._sound_of = sound_of
        self._routes = routes
        self._dialogs = dialogs
        self._registrar = registrar
        self._transactions = transactions

    # Answers.

    def response(self, response: Response) -> Dialog | None:
        """Back to the peer, on the flow that the request came in on. Returns the dialog whose INVITE it answers."""
        top = proxy.pop_via(response)
        dialog = self._dialogs.find(response.call_id)
        flow = self._routes.flow_for_answer(top.parameters.get("flow") or "", dialog)
        if response.code == 100 or flow is None:
            return None  # the peer has had our own 100
        if dialog is not None and dialog.host_gone:
            return None  # it hung and is back: the answer was given in its place
        if dialog is not None:
            if response.cseq.method == "INVITE":  # of a request that left the offer to us, this is it
                host_limits.offer_for_peer(response, dialog.sound)
            else:
                host_limits.answer_for_peer(response, dialog.sound)
        secure = dialog is not None and secure_names.are_of(dialog)
        self._routes.face_peer(response, flow, secure=secure)
        transaction = self._transactions.of(response)
        if transaction is not None and not transaction.note(response):  # what it says again is what was said
            return None
        was_pending = False
        if dialog is not None:
            was_pending = dialog.pending
            dialog.is_taken(response)
            dialog.note_response(response)
            if _ends_the_dialog(response) and dialog.is_established_with(response.from_.tag):
                dialog.finish()
        flow.send(bytes(response))
        return dialog if was_pending else None

    # Requests.

    def request(self, request: Request, host: Flow) -> Response | None:
        """Returns the refusal that the host gets when there is no way to the peer."""
        if request.uri.host.endswith(f".{BINDING_DOMAIN}"):
            return self._to_binding(request, host)
        dialog = self._dialogs.find(request.call_id)
        if dialog is None:
            return None if request.method == "ACK" else uas.respond(request, 481, "Dialog is not known")
        if request.method == "ACK" and dialog.from_host:
            dialog.acknowledged = True
        if request.method == "BYE" and dialog.is_established_with(request.to.tag):
            self._routes.end_of_asking(dialog)
            dialog.finish()
        proxy.drop_own_routes(request, self._routes.own)
        proxy.hop(request)
        if dialog.peer_is_secure:
            request.target = secure_names.secured(request.target)
        proxy.suit_strict_router(request)
        if request.method in host_limits.TARGET_REFRESH:
            host_limits.offer_for_peer(request, dialog.sound)
            dialog.asking = request
        if request.method in NO_DUTY:
            self._answer_in_time(request, dialog)
        self._challenges.answer(request, dialog)
        sent = self._routes.to_peer(request, self._routes.flow_to(dialog), proxy.derived_branch(request))
        return None if sent or request.method == "ACK" else uas.respond(request, 480, "Connection is gone")

    def _answer_in_time(self, request: Request, dialog: Dialog) -> None:
        """Said again it is the same one."""
        sequence = request.cseq.sequence
        if sequence in dialog.unheard:
            return
        dialog.unheard[sequence] = request

        def answer() -> None:
            if (heard := dialog.in_place_of_silence(sequence)) is not None and not dialog.host_gone:
                self._routes.to_host(heard, dialog)

        asyncio.get_running_loop().call_later(ANSWERED_S, answer)

    def _to_binding(self, request: Request, host: Flow) -> Response | None:
        """A host's INVITE (or its CANCEL, or the ACK of a refusal) to a registered PBX."""
        dialog = self._dialogs.find(request.call_id)
        if dialog is None:
            return self._invite(request, host)
        if request.method == "ACK" and (dialog.declined or dialog.host_gone):
            return None  # of the refusal that the host was given in place of an answer: the peer knows nothing of it
        if request.method == "CANCEL":
            dialog.cancelled = True
            dialog.elsewhere = dialog.elsewhere or ELSEWHERE in request.headers.getlist("Reason")
        branch = proxy.derived_branch(request)
        request.target = dialog.invite.target
        self._prepare(request, dialog.invite.headers.getlist("Route"))
        flow = self._routes.flow_to(dialog)
        self._challenges.answer(request, dialog)
        if request.method == "INVITE":
            self._make_ours(request, flow, dialog.sound)
        sent = self._routes.to_peer(request, flow, branch)
        if request.method == "INVITE" and request.cseq.sequence > dialog.invite.cseq.sequence:
            dialog.begin_again(request)
        return None if sent else uas.respond(request, 480, "Connection to the PBX is gone")

    def _invite(self, request: Request, host: Flow) -> Response | None:
        binding = self._registrar.find(binding_id_at(request.uri.host))
        call_id, _, leg = (request.headers.get(CALL_HEADER) or "").partition("/")
        if binding is None or request.method != "INVITE":
            return None if request.method == "ACK" else uas.respond(request, 480, "PBX is not registered")
        if not leg:  # the host calls by itself: whoever made it do so, no call of ours wants it
            return uas.respond(request, 403, "No call has dialled this")
        sound = self._sound_of(binding.login)
        branch = proxy.derived_branch(request)
        request.target = target_at(binding, request.uri)
        self._prepare(request, binding.path)
        self._make_ours(request, binding.flow, sound)
        if not self._routes.to_peer(request, binding.flow, branch):
            return uas.respond(request, 480, "Connection to the PBX is gone")
        login, flow = binding.login, binding.flow
        self._dialogs.add(Dialog(call_id, leg, host.peer[1], login, sound, flow, request, from_host=True))
        return None

    def _prepare(self, request: Request, path: list[str] | tuple[str, ...]) -> None:
        """For the way to a contact: through the proxies that have recorded themselves when it registered (RFC 3327)."""
        request.headers.remove(CALL_HEADER)
        proxy.drop_own_routes(request, self._routes.own)
        if path:
            request.headers.setlist("Route", list(path))
        proxy.hop(request)

    def _make_ours(self, request: Request, flow: Flow, sound: SoundTerms) -> None:
        """No reliable 183, whose description would have to reach the host; and nobody replaces a call of ours."""
        request.headers.set("Supported", "timer, norefersub")
        host_limits.offer_for_peer(request, sound)
        self._routes.record(request, flow, towards_peer=True)


def _ends_the_dialog(response: Response) -> bool:
    """Of a BYE that the host has taken, or has no call for (RFC 3261 15.1); one out of order ends nothing (12.2.2)."""
    return response.cseq.method == "BYE" and (200 <= response.code < 300 or response.code == 481)
