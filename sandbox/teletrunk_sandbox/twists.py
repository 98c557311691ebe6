"""Answers that Telegram may give by its schema and seldom gives, for tests; each stands in for the method's own.

The method is not carried out: a call that is answered with `phoneCallDiscarded` never rang.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pyrogram import raw

from teletrunk_sandbox import tl
from teletrunk_sandbox.accounts import digits_of
from teletrunk_sandbox.auth import authorize
from teletrunk_sandbox.dispatch import Request, twist
from teletrunk_sandbox.errors import bad_request

Builder = Callable[[Request, Any], tl.Answer]


def _call(make: Callable[[int], Any]) -> Builder:
    """A phone.phoneCall with this inside: about the call that was named, or about one that nobody has heard of."""

    def build(request: Request, query: Any) -> tl.Answer:
        named = getattr(getattr(query, "peer", None), "id", None) or secrets.randbits(62)
        return raw.types.phone.PhoneCall(phone_call=make(named), users=[])

    return build


def _sent(kind: Any, by_email: bool = False) -> Builder:
    def build(request: Request, query: Any) -> tl.Answer:
        code = request.dc.sign_ins.send_code(digits_of(query.phone_number), by_email)
        return raw.types.auth.SentCode(type=kind, phone_code_hash=code.hash)

    return build


def _updates(request: Request, query: Any) -> tl.Answer:
    return request.dc.updates.compose(request.user, [], ())


def _payment(request: Request, query: Any) -> tl.Answer:
    return tl.make(raw.types.auth.SentCodePaymentRequired, phone_code_hash=secrets.token_hex(9), currency="USD")


def _success(request: Request, query: Any) -> tl.Answer:
    user = request.dc.accounts.by_phone(query.phone_number)
    if user is None:
        raise bad_request("PHONE_NUMBER_UNOCCUPIED")
    return raw.types.auth.SentCodeSuccess(authorization=authorize(request, user))


def _terms(request: Request, query: Any) -> tl.Answer:
    terms = raw.types.help.TermsOfService(id=raw.types.DataJSON(data='{"terms":1}'), text="Be kind.", entities=[])
    return raw.types.auth.AuthorizationSignUpRequired(terms_of_service=terms)


_BUSY = raw.types.PhoneCallDiscardReasonBusy()

for _name, _builder in {
    "phoneCallDiscarded": _call(lambda number: raw.types.PhoneCallDiscarded(id=number, reason=_BUSY)),
    "phoneCallEmpty": _call(lambda number: raw.types.PhoneCallEmpty(id=number)),
    "updates": _updates,
    "dhConfigNotModified": lambda request, query: raw.types.messages.DhConfigNotModified(random=bytes(256)),
    "sentCodePaymentRequired": _payment,
    "sentCodeSuccess": _success,
    "sentCodeTypeSetUpEmailRequired": _sent(raw.types.auth.SentCodeTypeSetUpEmailRequired()),
    "sentCodeTypeFirebaseSms": _sent(raw.types.auth.SentCodeTypeFirebaseSms(length=5)),
    "sentCodeTypeEmailCode": _sent(
        raw.types.auth.SentCodeTypeEmailCode(email_pattern="a***@example.com", length=5), by_email=True
    ),
    "termsOfService": _terms,
}.items():
    twist(_name, _builder)
