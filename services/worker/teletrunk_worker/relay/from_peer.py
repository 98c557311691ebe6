"""Messages from peers to SIP hosts. What a host cannot take, because pjsua stops at it, is refused or ended here."""

from __future__ import annotations

from teletrunk_worker.relay import codecs, digits, early_answer, host_limits, legible, srtp
from teletrunk_worker.relay.challenges import Challenges
from teletrunk_worker.relay.host_limits import WITH_OFFER, Objection
from teletrunk_worker.relay.routes import CALL_HEADER, Routes, leg_header
from teletrunk_worker.relay.stand_in import StandIn
from teletrunk_worker.sip import answers, proxy, sdp, uas
from teletrunk_worker.sip.dialog import NO_DUTY, Dialog, Dialogs
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.reason import q850_cause
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.transport.flow import Flow


class FromPeer:
    def __init__(self, routes: Routes, dialogs: Dialogs, stand_in: StandIn, challenges: Challenges) -> None:
        self._challenges = challenges
        self._routes = routes
        self._dialogs = dialogs
        self._stand_in = stand_in

    # Requests.

    def objection(self, invite: Request, flow: Flow) -> Objection | None:
        """Why no host could take a first INVITE, whoever sends it; None when one can. Raises `Malformed`."""
        if not invite.contacts:  # RFC 3261 8.1.1.8
            raise Malformed("Contact is missing")
        return self._made_fit(invite, flow, self._first_for_host(invite, flow, "x" * host_limits.LONGEST_LEG_HEADER))

    def invite(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        """The first INVITE of a call that was let in."""
        forwarded = self._first_for_host(request, flow, leg_header(dialog.call_id, dialog.leg))
        host_limits.simplify(forwarded)
        host_limits.offer_for_host(forwarded, dialog.sound)
        dialog.sound_place = sdp.place_of_sound(forwarded.body) or 0
        self._routes.to_host(forwarded, dialog)

    def _first_for_host(self, request: Request, flow: Flow, leg: str) -> Request:
        forwarded = request.copy()
        forwarded.headers.remove("Authorization", "Proxy-Authorization", CALL_HEADER)
        self._routes.record(forwarded, flow, towards_peer=False)
        self._routes.via_for_host(forwarded, flow)
        forwarded.headers.insert(CALL_HEADER, leg)  # first of all: what is cut off at the end is not ours
        return forwarded

    def in_dialog(self, request: Request, flow: Flow, dialog: Dialog) -> Response | None:
        """Anything of a dialog. Returns the answer to what the host could not take, or will not see."""
        if dialog.host_gone and request.method in ("BYE", "CANCEL"):
            dialog.finish()
            return uas.respond(request, 200, "OK")
        if request.method == "BYE" and dialog.from_host and dialog.pending:
            # RFC 3261 15 forbids it: for pjsua the call is over then, and its INVITE's answer another call's.
            self._stand_in.release(dialog)
            return uas.respond(request, 200, "OK")
        if request.method == "PRACK" and not dialog.waits_for(request):  # RFC 3262 3: pjsip says 200, or 400
            return uas.no_such_dialog(request)
        forwarded = request.copy()
        forwarded.headers.remove(CALL_HEADER, "Authorization", "Proxy-Authorization")
        if request.method not in host_limits.WITH_BODY:
            host_limits.strip_body(forwarded)
        proxy.drop_own_routes(forwarded, self._routes.own)
        self._routes.via_for_host(forwarded, flow)
        if request.method == "INFO" and not digits.rewrite(forwarded):
            return uas.respond(request, 400, "Bad Request: no digit in the body")
        if request.method == "ACK":
            self._acknowledge(request, flow, forwarded, dialog)
            return None
        unfit = self._made_fit(request, flow, forwarded) or _no_codec(request, dialog)
        if (objection := unfit or _sound_fit(forwarded, dialog)) is None:
            if request.method == "BYE":
                dialog.cause = q850_cause(request)
                self._routes.end_of_asking(dialog)
            if request.method in host_limits.TARGET_REFRESH:
                dialog.peer_asks = request
            self._routes.to_host(forwarded, dialog)
            return None
        return objection.answer(request)

    def _acknowledge(self, ack: Request, flow: Flow, forwarded: Request, dialog: Dialog) -> None:
        """Nobody answers it. One that leaves the call's offer without an answer ends the call, when the host has heard
        so: it would wait without a sound. Of a later offer all stays as it is."""
        if dialog.left_the_offer_to_us(ack):
            host_limits.leave_what_was_offered(forwarded, dialog.established)
        if self._made_fit(ack, flow, forwarded) or (
            forwarded.body and host_limits.has_no_answer(forwarded, dialog.sound)
        ):
            host_limits.strip_body(forwarded)
            host_limits.simplify(forwarded)
        host_limits.answer_for_host(forwarded, dialog.sound)
        dialog.described = forwarded.body or dialog.described
        if not forwarded.body and dialog.left_the_offer_to_us(ack):
            host_limits.decline(forwarded)
        self._routes.to_host(forwarded, dialog)

    def _made_fit(self, request: Request, flow: Flow, forwarded: Request) -> Objection | None:
        """Why a host could not take what is forwarded; what it could take is made fit for it."""
        if request.method != "ACK" and request.number("Max-Forwards") == 0:
            return Objection(483, "Too Many Hops")
        unfit = host_limits.objection_to(forwarded, flow.peer[0], self._routes.addresses)
        found = unfit or host_limits.objection_to_offer(forwarded)
        if found is not None:
            return found
        host_limits.simplify(forwarded)
        return None

    # Answers.

    def response(self, response: Response) -> Dialog | None:
        """Back to the host that asked. Returns the dialog whose INVITE this may have ended."""
        dialog = self._dialogs.find(response.call_id)
        if dialog is None:
            return None
        if not _is_asked_for(response, dialog):
            return None
        legible.write_legibly(response)
        was_pending = dialog.pending
        if dialog.from_host or response.cseq.method != "INVITE":
            self._challenges.note(response, dialog)
        dialog.name_peer_in(response)
        to_invite = response.cseq.method == "INVITE" and dialog.from_host
        is_first = to_invite and dialog.is_first_invites(response)
        asked = dialog.asking if dialog.asking is not None and response.cseq == dialog.asking.cseq else None
        if is_first:
            answers.point_at(response, dialog.invite.target)
            early_answer.complete(response, dialog)
        host_limits.leave_what_was_offered(response, dialog.invite if is_first else asked)
        if asked is not None and response.code >= 200:
            _settle(response, dialog)
        if to_invite:
            if is_first:
                self._routes.stay_on_way(response, dialog)
            if not self._stand_in.keeps(response, dialog):
                host_limits.answer_for_host(response, dialog.sound)
                self._routes.to_host(response, dialog)
            dialog.note_response(response)
        else:
            self._within_dialog(response, dialog)
        return dialog if was_pending else None

    def _within_dialog(self, response: Response, dialog: Dialog) -> None:
        """To what a host asks there."""
        if response.cseq.method in NO_DUTY and response.code >= 200:
            dialog.unheard.pop(response.cseq.sequence, None)
        _keep_the_call(response)
        host_limits.fit(response)
        source = dialog.flow.peer[0]
        objection = host_limits.objection_to_answer(response, dialog.sound, source, self._routes.addresses, first=False)
        if objection is not None:
            if response.code < 200:  # of which nothing that is final is made
                return
            ends = response.cseq.method == "INVITE"
            dialog.refused_answer = objection.refusal if ends else dialog.refused_answer
            host_limits.turn_into(response, 481 if ends else objection.status, objection.phrase)
        host_limits.answer_for_host(response, dialog.sound)
        self._routes.to_host(response, dialog)


def _is_asked_for(response: Response, dialog: Dialog) -> bool:
    """Whether it answers a request that was sent on; then our Via is taken off, and what it only repeats is whole."""
    question = dialog.question_of(response)
    if question is not None:
        answers.put_back(response, question)
        proxy.pop_via(response)
        return True
    if dialog.from_host and dialog.is_first_invites(response):
        return False
    ours = proxy.pop_via(response)
    if ours.branch != proxy.derived_branch(response):
        return False
    legible.name_parties(response, dialog.parties)
    return True


def _settle(response: Response, dialog: Dialog) -> None:
    """The peer's last word on what the host has asked of it: where it is now, and its sound."""
    dialog.asking = None
    if response.code < 300:
        dialog.described = response.body or dialog.described
        if target := host_limits.target_in(response):
            dialog.peer_is_at(target)


def _keep_the_call(response: Response) -> None:
    """Who wants to hear no more of a transfer ends that subscription, not the call (RFC 5057); pjsip hangs up."""
    if response.cseq.method == "NOTIFY" and response.code >= 300 and response.code not in (401, 407):
        response.code, response.phrase = 200, "OK"


def _sound_fit(forwarded: Request, dialog: Dialog) -> Objection | None:
    """Why its sound cannot be had now; what can be had is made fit for the host."""
    if forwarded.method not in WITH_OFFER:
        host_limits.answer_for_host(forwarded, dialog.sound)
        return None
    host_limits.offer_for_host(forwarded, dialog.sound)
    if dialog.may_have_sound_at(sdp.place_of_sound(forwarded.body)):
        return None
    return Objection(500, "Sound moves between media too quickly", (("Retry-After", "1"),))


def _no_codec(request: Request, dialog: Dialog) -> Objection | None:
    offered = host_limits.offered_codecs(request)
    if offered is None:
        return None
    keyed = host_limits.offered_srtp(request)
    refusal = codecs.refusal_of(offered, dialog.sound.codecs) or srtp.refusal_of(keyed, dialog.sound)
    return None if refusal is None else host_limits.objection_of(refusal)
