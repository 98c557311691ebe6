"""REFER within a call (RFC 3515): whether the PBX may have it go on with another of its own numbers.

Whoever is named elsewhere than at the PBX is not called: a trunk is no way to make others call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from teletrunk.errors import Refusal

from teletrunk_worker.policy.admission import Gatekeeper, Transfer
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.sip import uas
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.registrar import Registrar
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.transport.flow import Address, Flow, plain, without_zone
from teletrunk_worker.sip.uri import Uri, escaped
from teletrunk_worker.trunks.book import TrunkBook

_LONGEST_NUMBER: Final = 64  # as it is written into a URI
_REFERRED_BY: Final = re.compile(r"[\x20-\x7e]{1,256}")  # our INVITE has 4,000 bytes for everything


class Transfers:
    def __init__(
        self, gatekeeper: Gatekeeper, registrar: Registrar, trunks: TrunkBook, face: Callable[[Flow], Address]
    ) -> None:
        self._gatekeeper = gatekeeper
        self._registrar = registrar
        self._trunks = trunks
        self._face = face

    def answer(self, refer: Request, flow: Flow, dialog: Dialog) -> Response:
        """202 when it is tried. Raises `Malformed`."""
        try:
            return self._answer(refer, flow, dialog)
        except Refusal as refusal:
            answer = refuse(refer, refusal)
            self._gatekeeper.told(dialog.call_id, dialog.leg, "REFER", f"{answer.code} {answer.phrase}")
            return answer

    def _answer(self, refer: Request, flow: Flow, dialog: Dialog) -> Response:
        """Raises `Refusal`, `Malformed`."""
        silent = (refer.headers.get("Refer-Sub") or "").strip().lower() == "false"  # RFC 4488
        transfer = Transfer(
            dialog.call_id,
            dialog.leg,
            self._registrar.trunk_of(dialog.login),
            self._number(refer, dialog),
            flow.peer[0],
            _referred_by(refer),
            "" if silent else f"refer;id={refer.cseq.sequence}" if dialog.refers else "refer",
        )
        self._gatekeeper.transfer(transfer)
        dialog.refers += 1
        host, port = self._face(flow)
        headers = [("Contact", f"<sip:{bracketed(host)}:{port}>")]
        return uas.respond(refer, 202, "Accepted", [*headers, ("Refer-Sub", "false")] if silent else headers)

    def _number(self, refer: Request, dialog: Dialog) -> str:
        """Whom the PBX names. Raises `Refusal`, `Malformed`."""
        named = refer.addresses("Refer-To")
        if len(named) != 1:
            raise Malformed("Refer-To must be there once")
        uri = named[0].uri
        if self._trunks.find(self._registrar.trunk_of(dialog.login)).options.no_transfers:
            raise Refusal("transfer-refused", "this trunk allows none")
        if "replaces=" in uri.text.rpartition("@")[2].lower():
            raise Refusal("transfer-refused", "only to a number, and not to another call")
        if (uri.parameters.get("method") or "INVITE").upper() != "INVITE":
            raise Refusal("transfer-refused", "only by INVITE")
        if not uri.user or len(escaped(uri.user)) > _LONGEST_NUMBER or not uri.user.isprintable():
            raise Refusal("transfer-refused", "it names no number")
        if uri.scheme != "tel" and not self._is_there(uri, refer, dialog):
            raise Refusal("transfer-refused", "only to a number of this PBX")
        return uri.user

    def _is_there(self, uri: Uri, refer: Request, dialog: Dialog) -> bool:
        """Whether that is the PBX by one of its names, or us: a PBX that knows nobody else in this call says so."""
        own_domain = (dialog.invite.to if dialog.from_host else dialog.invite.from_).uri.host
        bindings = self._registrar.of_login(dialog.login)
        names = {
            own_domain,
            dialog.flow.peer[0],
            self._face(dialog.flow)[0],
            *(binding.contact.uri.host for binding in bindings),
            *(binding.flow.peer[0] for binding in bindings),
            *(contact.uri.host for contact in refer.contacts),
        }
        return plain(uri.host).lower() in {plain(without_zone(name)).lower() for name in names}


def _referred_by(refer: Request) -> str:
    found = refer.addresses("Referred-By")
    return found[0].text if len(found) == 1 and _REFERRED_BY.fullmatch(found[0].text) else ""
