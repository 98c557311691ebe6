"""Speaks in place of SIP hosts that died, hung, or cannot: BYE, CANCEL, ACK and refusals of our own.

Each request is a client transaction, so that it is said until it is heard.
"""

from __future__ import annotations

import asyncio
import time

from teletrunk.errors import Refusal

from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.relay import host_limits
from teletrunk_worker.relay.challenges import Challenges
from teletrunk_worker.relay.routes import Routes
from teletrunk_worker.sip import proxy
from teletrunk_worker.sip.dialog import ELSEWHERE, MOST_ANSWERERS, Dialog
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.transaction.client import ClientTransactions

_HOSTS_CANCEL_S = 0.5
_TERMINATED = 'SIP;cause=487;text="Request Terminated"'
_CANCELLED = host_limits.Objection(487, "Request Terminated")
_UNREAD = host_limits.objection_of(Refusal("media-failed", "SIP host does not read the answer"))
_UNREAD_S = 7.0  # before a PBX says it for the fifth time (RFC 3261 13.3.1.4): a host that is only slow has read it
_UNTAGGED = host_limits.Objection(500, "Answer has no tag")


class StandIn:
    def __init__(self, routes: Routes, transactions: ClientTransactions, challenges: Challenges) -> None:
        self._challenges = challenges
        self._routes = routes
        self._transactions = transactions

    # Answers to a host's INVITE that the host must not see, or not as they are.

    def keeps(self, response: Response, dialog: Dialog) -> bool:
        """Whether this answer was dealt with here, alone or by refusing it to the host."""
        if dialog.host_gone:
            self._answer_for_dead_host(response, dialog)
            return True
        host_limits.fit(response)
        stray = not response.to.tag and bool(dialog.answerers)  # pjsip takes it for a fork's, and aborts
        first = dialog.is_first_invites(response)
        if first and response.code >= 300 and dialog.established is not None:
            self._acknowledge(response, dialog)  # a fork's that has lost: the host asks about it no more
            return True
        if not 200 <= response.code < 300:
            return not host_limits.is_short_enough(response) or (stray and response.code < 200)
        late = dialog.finished_at and dialog.established is None
        if first and not dialog.is_established_with(response.to.tag):  # pjsip would make a dialog of each such fork
            self._decline(response, dialog)
            return True
        if first and dialog.established is not None and response.flaw:
            return True  # a copy that was spoilt on its way: it comes again
        source = dialog.flow.peer[0]
        addresses = self._routes.addresses
        found = host_limits.objection_to_answer(response, dialog.sound, source, addresses, first=first)
        objection = _CANCELLED if first and (dialog.cancelled or late) else _UNTAGGED if stray else found
        if unread := first and self._is_unread(dialog):
            objection = _UNREAD
        if objection is None and response.to.tag not in dialog.declined:
            return False
        repeated = response.to.tag in dialog.declined
        why = objection and objection.refusal
        self._decline(response, dialog, why.sip_headers()[0][1] if why else "")
        if objection is not None and not repeated:
            dialog.refused_answer = objection.refusal
            status, phrase = (objection.status, objection.phrase) if first else (481, "Dialog was ended")
            if response.flaw or unread:  # the host may not be able to read the PBX's
                response.headers.set("To", f"{dialog.invite.headers['To']};tag=ended")
            host_limits.turn_into(response, status, phrase)
            host_limits.fit(response)
            self._routes.to_host(response, dialog)
        if unread:
            dialog.finish()
        return True

    def _is_unread(self, dialog: Dialog) -> bool:
        """Whether the host has had this 200 for so long that it is to be thought that it drops it."""
        waits = dialog.established is not None and not dialog.acknowledged
        return waits and time.monotonic() - dialog.established_at >= _UNREAD_S

    def _answer_for_dead_host(self, response: Response, dialog: Dialog) -> None:
        dialog.heard_out, dialog.last_status = dialog.heard_out or response.code >= 200, response.code
        if 200 <= response.code < 300:
            self._decline(response, dialog)
        elif response.code >= 300:
            self._acknowledge(response, dialog)
        elif not dialog.cancelled:  # a CANCEL may follow now that there is a provisional answer (RFC 3261 9.1)
            self._cancel(dialog)

    def _acknowledge(self, refusal: Response, dialog: Dialog) -> None:
        self._routes.flow_to(dialog).send(bytes(dialog.ack_of_refusal(refusal)))

    def _decline(self, answer: Response, dialog: Dialog, why: str = "") -> None:
        """Acknowledges a 2xx that no host wants, and ends what it has begun; a repetition is acknowledged again."""
        tag, flow = answer.to.tag, self._routes.flow_to(dialog)
        if tag not in dialog.declined:
            if len(dialog.declined) >= MOST_ANSWERERS:
                return
            ack = dialog.ack(answer, self._routes.own)
            reason = why or (ELSEWHERE if dialog.elsewhere else _TERMINATED)
            bye = dialog.bye(answer, ("Reason", reason), self._routes.own)
            if ack is None or bye is None:  # it says no address: nobody can be told
                dialog.declined[tag] = b""
                return
            self._routes.via_for_peer(ack, flow, proxy.new_branch())
            dialog.declined[tag] = bytes(ack)
            flow.send(bytes(ack))
            self._say(bye, dialog)
        elif dialog.declined[tag]:
            flow.send(dialog.declined[tag])

    # What ends a dialog.

    def release(self, dialog: Dialog) -> None:
        """The call is done with this leg. An INVITE that the peer has not answered for good keeps no host's place.

        The host is told that it is over, which it would otherwise wait for half a minute; the peer is heard out here.
        Its CANCEL, if it has heard a provisional answer, is on its way; if it had not read that yet, ours follows.
        """
        if dialog.established is not None and dialog.from_host and not (dialog.acknowledged or dialog.finished_at):
            self._decline(dialog.established, dialog)  # the host has not read it: nobody else will end it
        if dialog.pending and dialog.from_host and not dialog.host_gone:
            dialog.host_gone = True
            self._routes.to_host(dialog.refusal_for_host(487, "Request Terminated"), dialog)
            if dialog.last_status:
                asyncio.get_running_loop().call_later(_HOSTS_CANCEL_S, self._cancel_for_host, dialog)
        dialog.finish()

    def _cancel_for_host(self, dialog: Dialog) -> None:
        if not (dialog.cancelled or dialog.heard_out):
            self._cancel(dialog)

    def end(self, dialog: Dialog, refusal: Refusal) -> Response | None:
        """The host is gone: BYE for a call that was up, CANCEL for one that rang, the refusal for one that came.

        Returns that refusal, which is the answer to the dialog's INVITE.
        """
        answer: Response | None = None
        if dialog.finished_at:
            pass
        elif dialog.established is not None:
            if bye := dialog.bye(dialog.established, refusal.sip_headers()[0], self._routes.own):
                self._say(bye, dialog)
        elif not dialog.from_host:
            answer = refuse(dialog.invite, refusal)
        elif dialog.last_status:
            self._cancel(dialog)
        dialog.host_gone = True
        dialog.finish()
        return answer

    def _cancel(self, dialog: Dialog) -> None:
        self._transactions.send(dialog.cancel(), self._routes.flow_to(dialog))

    def _say(self, request: Request, dialog: Dialog) -> None:
        """A request of our own within the dialog."""
        flow = self._routes.flow_to(dialog)
        self._challenges.answer(request, dialog)
        self._routes.via_for_peer(request, flow, proxy.new_branch())
        self._transactions.send(request, flow, lambda response: self._say_again(request, response, dialog))

    def _say_again(self, request: Request, response: Response | None, dialog: Dialog) -> None:
        """When the peer wants a password, with a number that is higher (RFC 3261 22.2)."""
        if response is None or response.code not in (401, 407):
            return
        self._challenges.note(response, dialog)
        if response.code not in (401, 407):  # we have none
            return
        again = request.copy()
        again.headers.setlist("Via", request.vias[1:])
        again.headers.set("CSeq", f"{request.cseq.sequence + 1} {request.method}")
        self._say(again, dialog)
