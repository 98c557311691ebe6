"""Challenges to our own calls: a PBX asks for a password, which no SIP host is given.

The host has made-up credentials and answers a made-up challenge, so its stack repeats the request as it must; on the
way to the PBX the right answer to the PBX's own challenge is put in the place of the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.digest_client import Account, challenges_of
from teletrunk_worker.sip.message import Request, Response

_FOR_HOSTS = 'Digest realm="teletrunk", nonce="{nonce}", algorithm=MD5'
_MOST = 3  # of one dialog
_ANSWERS: Final = ("Authorization", "Proxy-Authorization")


class Challenges:
    def __init__(self, account_of: Callable[[str], Account | None]) -> None:
        """`account_of` says what we are to the PBX of the trunk with a login."""
        self._account_of = account_of

    def note(self, response: Response, dialog: Dialog) -> None:
        """Makes a challenge one that the host can take; one that we have no answer to becomes a plain refusal."""
        fresh = challenges_of(response)
        response.headers.remove("WWW-Authenticate", "Proxy-Authenticate")
        if 200 <= response.code < 300:
            dialog.challenges = 0
        if response.code not in (401, 407):
            return
        may = dialog.challenges < _MOST and response.cseq.method != "CANCEL"  # which comes once (RFC 3261 22.1)
        able = may and self._account(dialog) is not None
        if not able or not dialog.credentials.take(fresh):
            response.code, response.phrase = 403, f"PBX wants other credentials: {response.code} {response.phrase}"
            return
        dialog.challenges += 1
        name = "WWW-Authenticate" if response.code == 401 else "Proxy-Authenticate"
        response.headers.set(name, _FOR_HOSTS.format(nonce=dialog.challenges))

    def _account(self, dialog: Dialog) -> Account | None:
        """Kept with the dialog: the registration may move to another Worker while its calls stay here."""
        dialog.account = self._account_of(dialog.login) or dialog.account
        return dialog.account

    def answer(self, request: Request, dialog: Dialog) -> None:
        """Puts the right answers in place of the host's. The request's target is the one that the PBX will see.

        An ACK, which nobody can refuse, has those of its INVITE (RFC 3261 22.1).
        """
        request.headers.remove(*_ANSWERS)
        if request.method == "ACK" and dialog.from_host and request.cseq.sequence == dialog.invite.cseq.sequence:
            for header in _ANSWERS:
                request.headers.setlist(header, dialog.invite.headers.getlist(header))
        account = self._account(dialog)
        if account is not None and request.method not in ("CANCEL", "ACK"):
            for header, answer in dialog.credentials.answers(request.method, request.target, account):
                request.headers.add(header, answer)
