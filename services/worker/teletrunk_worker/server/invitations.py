"""A first INVITE: asked about, refused or relayed, and cancelled while nothing is decided yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields

from teletrunk.errors import Refusal

from teletrunk_worker.policy.admission import Admission, Gatekeeper
from teletrunk_worker.relay import host_limits
from teletrunk_worker.relay.from_peer import FromPeer
from teletrunk_worker.server.responder import Responder
from teletrunk_worker.sip import proxy, uas
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.dialog import Dialog, Dialogs
from teletrunk_worker.sip.diversion import diverted_by
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.sound import SoundTerms
from teletrunk_worker.sip.transaction.server import ServerTransaction, ServerTransactions
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.trunks.origins import Known


@dataclass(frozen=True)
class Asked:
    """Who calls, and whom: shown by a digest, or known by where the call comes from."""

    credentials: Credentials
    called: str
    trunk_id: str = ""

    @classmethod
    def by_digest(cls, credentials: Credentials, invite: Request) -> Asked:
        return cls(credentials, invite.uri.number)

    @classmethod
    def by_place(cls, known: Known) -> Asked:
        nothing = dict.fromkeys((field.name for field in fields(Credentials)), "")
        credentials = Credentials(**{**nothing, "username": known.trunk.login, "method": "INVITE"})
        return cls(credentials, known.called, known.trunk.trunk_id)


class Invitations:
    def __init__(
        self,
        admission: Admission,
        gatekeeper: Gatekeeper,
        from_peer: FromPeer,
        dialogs: Dialogs,
        transactions: ServerTransactions,
        responder: Responder,
        sound_of: Callable[[str], SoundTerms],
    ) -> None:
        """`sound_of` says what sound the trunk with a login has."""
        self._sound_of = sound_of
        self._admission = admission
        self._gatekeeper = gatekeeper
        self._from_peer = from_peer
        self._dialogs = dialogs
        self._transactions = transactions
        self._responder = responder
        self._undecided: dict[str, tuple[Request, asyncio.Task[None]]] = {}  # by Call-ID

    def __len__(self) -> int:
        """Those that nobody has decided about yet."""
        return len(self._undecided)

    def is_known(self, call_id: str) -> bool:
        """Whether an INVITE with this Call-ID is being worked on, or has made a dialog that has not ended."""
        dialog = self._dialogs.find(call_id)
        return call_id in self._undecided or (dialog is not None and not dialog.finished_at)

    def turned_away(self, request: Request, way_back: Flow, flow: Flow, asked: Asked) -> Response | None:
        """The refusal of an INVITE that no host could take. It is said from the request alone: anybody may draw it."""
        objection = self._from_peer.objection(request, way_back)
        if objection is None:
            return None
        if objection.refusal is not None:
            self._admission.turned_away(asked.credentials, asked.called, flow, objection.refusal, request.call_id)
        return objection.answer(request)

    def begin(self, request: Request, way_back: Flow, flow: Flow, transaction: ServerTransaction, asked: Asked) -> None:
        """`flow` is where the request came from, `way_back` where its answers go."""
        transaction.answer(uas.respond(request, 100, "Trying"))
        work = self._invite(request, way_back, flow, transaction, asked)
        task = self._responder.run(work, request, way_back)
        self._undecided[request.call_id] = (request, task)
        task.add_done_callback(lambda _: self._undecided.pop(request.call_id, None))

    async def _invite(
        self, request: Request, way_back: Flow, flow: Flow, transaction: ServerTransaction, asked: Asked
    ) -> None:
        try:
            if not asked.called.isprintable():
                raise Refusal("user-not-found", "not a phone, @username or user id")
            offered = host_limits.offered_codecs(request)
            keyed = host_limits.offered_srtp(request)
            admitted = await self._admission.admit(
                asked.credentials, asked.called, flow, offered, keyed, asked.trunk_id, request.call_id
            )
        except Refusal as refusal:
            transaction.answer(self._admission.answer(request, refusal, flow))
            return
        login = asked.credentials.username
        sound = self._sound_of(login)
        dialog = Dialog(admitted.call_id, "a", admitted.host_port, login, sound, flow, request, from_host=False)
        self._dialogs.add(dialog)
        if by := diverted_by(request):
            self._gatekeeper.told(dialog.call_id, dialog.leg, f"diverted by {by}")
        self._from_peer.invite(request, way_back, dialog)

    def cancel(self, cancel: Request, way_back: Flow) -> bool:
        """On the branch of its INVITE (RFC 3261 9.1): a Call-ID alone ends nothing. False when there is none."""
        invite, task = self._undecided.get(cancel.call_id, (None, None))
        if invite is None or task is None or not proxy.is_cancel_of(cancel, invite):
            return False
        way_back.send(bytes(uas.respond(cancel, 200, "OK")))
        # At once, and not by the task: one that has not begun yet is cancelled without a word.
        if transaction := self._transactions.find(invite):
            transaction.answer(uas.respond(invite, 487, "Request Terminated"))
        task.cancel()
        return True
