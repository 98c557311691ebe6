"""REFER within a call (RFC 3515): whether the PBX may have it go on with another of its own numbers.

Whoever is named elsewhere than at the PBX is not called: a trunk is no way to make others call. A transfer is attended
when the PBX names a call of its own beside the number: ours then takes that one's place (RFC 3891, RFC 5589 7).
"""

from __future__ import annotations

import re
from typing import Final

from teletrunk.errors import Refusal
from teletrunk.identifiers import without_separators

from teletrunk_worker.policy.admission import Gatekeeper, Transfer
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.relay import secure_names
from teletrunk_worker.relay.faces import Faces
from teletrunk_worker.sip import uas
from teletrunk_worker.sip.dialog import Dialog, Dialogs
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.registrar import Registrar
from teletrunk_worker.sip.scanner import IN_TOKENS, Malformed
from teletrunk_worker.sip.transport.flow import Flow, plain, without_zone
from teletrunk_worker.sip.uri import Uri, escaped
from teletrunk_worker.trunks.book import TrunkBook

_LONGEST_NUMBER: Final = 64  # as it is written into a URI
_CALL_ID: Final = re.compile(r"[!#-+\--:=?-\[\]-~]{1,128}")  # no blank, nor what ends a header's value: " , ; < > \
_TAG: Final = re.compile(rf"{IN_TOKENS}{{1,128}}")
_REFERRED_BY: Final = re.compile(r"[\x20-\x7e]{1,256}")  # our INVITE has 4,000 bytes for everything


class Transfers:
    def __init__(
        self,
        gatekeeper: Gatekeeper,
        registrar: Registrar,
        dialogs: Dialogs,
        trunks: TrunkBook,
        faces: Faces,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._registrar = registrar
        self._dialogs = dialogs
        self._trunks = trunks
        self._faces = faces

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
        uri = self._named(refer, dialog)
        silent = (refer.headers.get("Refer-Sub") or "").partition(";")[0].strip().lower() == "false"  # RFC 4488
        transfer = Transfer(
            dialog.call_id,
            dialog.leg,
            self._registrar.trunk_of(dialog.login),
            _number(uri),
            flow.peer[0],
            _referred_by(refer),
            self._replaces(uri),
            "" if silent else f"refer;id={refer.cseq.sequence}" if dialog.refers else "refer",
        )
        self._gatekeeper.transfer(transfer)
        dialog.refers += 1
        headers = [("Contact", self._faces.contact(flow, secure=secure_names.are_of(dialog)))]
        return uas.respond(refer, 202, "Accepted", [*headers, ("Refer-Sub", "false")] if silent else headers)

    def _named(self, refer: Request, dialog: Dialog) -> Uri:
        """Whom the PBX names. Raises `Refusal`, `Malformed`."""
        named = refer.addresses("Refer-To")
        if len(named) != 1:
            raise Malformed("Refer-To must be there once")
        uri = named[0].uri
        if self._trunks.find(self._registrar.trunk_of(dialog.login)).options.no_transfers:
            raise Refusal("transfer-refused", "this trunk allows none")
        if (uri.parameters.get("method") or "INVITE").upper() != "INVITE":
            raise Refusal("transfer-refused", "only by INVITE")
        if not _number(uri) or len(escaped(uri.user)) > _LONGEST_NUMBER or not uri.user.isprintable():
            raise Refusal("transfer-refused", "it names no number")
        if uri.scheme != "tel" and not self._is_there(uri, refer, dialog):
            raise Refusal("transfer-refused", "only to a number of this PBX")
        return uri

    def _replaces(self, uri: Uri) -> str:
        """The call at the PBX that ours takes the place of, as the new INVITE names it. Raises `Refusal`."""
        found = [value for name, value in uri.headers if name == "replaces"]
        if not found:
            return ""
        if len(found) > 1 or not _names_a_call(found[0]):
            raise Refusal("transfer-refused", "which call it takes the place of cannot be read")
        if self._dialogs.find(found[0].partition(";")[0]) is not None:
            raise Refusal("transfer-refused", "only to a call within the PBX, and that one is with Telegram")
        return found[0]

    def _is_there(self, uri: Uri, refer: Request, dialog: Dialog) -> bool:
        """Whether that is the PBX by one of its names, or us: a PBX that knows nobody else in this call says so."""
        own_domain = (dialog.invite.to if dialog.from_host else dialog.invite.from_).uri.host
        bindings = self._registrar.of_login(dialog.login)
        names = {
            own_domain,
            dialog.flow.peer[0],
            self._faces.at(dialog.flow)[0],
            *self._faces.public,
            *(binding.contact.uri.host for binding in bindings),
            *(binding.flow.peer[0] for binding in bindings),
            *(contact.uri.host for contact in refer.contacts),
        }
        return plain(uri.host).lower() in {plain(without_zone(name)).lower() for name in names}


def _number(uri: Uri) -> str:
    """As the PBX dials it: of a telephone number what only helps to read it is none of it (RFC 3966 5.1.1)."""
    return without_separators(uri.number) if uri.scheme == "tel" else uri.user


def _names_a_call(replaces: str) -> bool:
    """Whether it is the value of a Replaces (RFC 3891 6.1): a Call-ID and both tags, each once."""
    call_id, *parameters = replaces.removesuffix(";early-only").split(";")
    tags = [parameter.partition("=")[::2] for parameter in parameters]
    if sorted(name for name, _ in tags) != ["from-tag", "to-tag"] or not _CALL_ID.fullmatch(call_id):
        return False
    return all(_TAG.fullmatch(tag) for _, tag in tags)


def _referred_by(refer: Request) -> str:
    found = refer.addresses("Referred-By")
    return found[0].text if len(found) == 1 and _REFERRED_BY.fullmatch(found[0].text) else ""
