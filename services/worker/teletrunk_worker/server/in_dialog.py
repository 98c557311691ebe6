"""Requests within a dialog: relayed to its host, or answered where a host would only stumble.

They come from where the dialog's peer is known to be; from anywhere else they need the trunk's password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from teletrunk.errors import Refusal

from teletrunk_worker.policy.admission import Admission, Gatekeeper, too_many_at_once
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.relay.from_peer import FromPeer
from teletrunk_worker.relay.host_limits import WITH_OFFER
from teletrunk_worker.relay.routes import Routes
from teletrunk_worker.server.responder import Responder
from teletrunk_worker.server.transfers import Transfers
from teletrunk_worker.sip import uas
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.transaction.server import ServerTransaction, ServerTransactions
from teletrunk_worker.sip.transport.flow import Flow

_HOLDS: Final = re.compile(rb"^(?:a=(?:sendonly|inactive)|c=IN IP4 0\.0\.0\.0)\s*$", re.MULTILINE)
HOST_ANSWERS_S = 5.0  # nobody has to decide anything


class InDialog:
    def __init__(
        self,
        admission: Admission,
        routes: Routes,
        from_peer: FromPeer,
        transactions: ServerTransactions,
        responder: Responder,
        transfers: Transfers,
        gatekeeper: Gatekeeper,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._transfers = transfers
        self._admission = admission
        self._routes = routes
        self._from_peer = from_peer
        self._transactions = transactions
        self._responder = responder

    def request(self, request: Request, way_back: Flow, flow: Flow, dialog: Dialog) -> None:
        if request.method == "ACK":  # nobody could ask for a password; the tags have to do
            self._from_peer.in_dialog(request, way_back, dialog)
        elif self._routes.is_way_of(flow, dialog):
            self._move(dialog, flow)
            self._admit(request, way_back, dialog)
        else:
            self._ask_who(request, way_back, flow, dialog)

    def _move(self, dialog: Dialog, flow: Flow) -> None:
        """The peer is there now; a connection of its own is no stranger's."""
        flow.prove(dialog.login)
        dialog.move(flow)

    def _admit(
        self, request: Request, way_back: Flow, dialog: Dialog, transaction: ServerTransaction | None = None
    ) -> None:
        answer = uas.answer_in_dialog(request)
        if dialog.finished_at and request.method != "BYE":
            answer = uas.no_such_dialog(request)
        # An answer that is made of the request alone is made as often as it comes; to an INVITE's, an ACK comes.
        if answer is None or request.method == "INVITE":
            transaction = transaction or self._transactions.create(request, way_back)
        if answer is None:
            answer = self._taken(request, way_back, dialog, is_kept=transaction is not None)
        if answer is not None:
            self._responder.answer(request, way_back, answer)
        elif transaction is not None:
            transaction.otherwise(HOST_ANSWERS_S, _in_place_of_host(request, dialog))

    def _taken(self, request: Request, way_back: Flow, dialog: Dialog, *, is_kept: bool) -> Response | None:
        """A BYE without a transaction, when there are too many, is relayed all the same: a call must be able to end."""
        if not is_kept and request.method != "BYE":
            return refuse(request, too_many_at_once())
        if request.method == "REFER":  # for no host: it would call whoever is named
            return self._transfers.answer(request, way_back, dialog)
        if request.method != "BYE" and not dialog.may_ask(request):  # RFC 3261 14.2, RFC 3311 5.2
            return uas.respond(request, 500, "Asked too quickly within the call", [("Retry-After", "1")])
        answer = self._from_peer.in_dialog(request, way_back, dialog)
        if request.method in WITH_OFFER and request.body:
            asked = f"{request.method}, {'holds' if _HOLDS.search(request.body) else 'talks'}"
            self._gatekeeper.told(dialog.call_id, dialog.leg, asked, _status_line(answer))
        return answer

    def _ask_who(self, request: Request, way_back: Flow, flow: Flow, dialog: Dialog) -> None:
        given = self._admission.credentials(request, flow)
        if isinstance(given, Response):
            self._responder.answer(request, way_back, given)
            return

        transaction = self._transactions.create(request, way_back)  # before anybody is asked: it may come again

        async def ask() -> None:
            try:
                trunk = await self._admission.identify(given, flow)
                if trunk.login != dialog.login:
                    raise Refusal("session-access-revoked", "the call is another trunk's")
            except Refusal as refusal:
                self._responder.answer(request, way_back, self._admission.answer(request, refusal, flow))
                return
            self._move(dialog, flow)
            self._admit(request, way_back, dialog, transaction)

        self._responder.run(ask(), request, way_back)


def _status_line(answer: Response | None) -> str:
    return "" if answer is None else f"{answer.code} {answer.phrase}"


def _in_place_of_host(request: Request, dialog: Dialog) -> Callable[[], Response]:
    """What the peer hears when the host says nothing: a BYE ends its side all the same."""

    def answer() -> Response:
        if request.method == "BYE":
            dialog.finish()
            return uas.respond(request, 200, "OK")
        return refuse(request, Refusal("media-failed", "SIP host does not answer"))

    return answer
