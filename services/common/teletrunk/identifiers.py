"""Whom to call: the identifiers that a PBX may dial. And who is to stay unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

ANONYMOUS: Final = "anonymous@anonymous.invalid"  # RFC 3323 4.1.1.3: a caller ID that is nobody's
ANONYMOUS_NAME: Final = "Anonymous"
_USERNAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{3,31}$")
_LONGEST_USER_ID = 1 << 53
# What E.164 allows; Telegram itself says whether such a number exists.
_PHONE = re.compile(r"^[1-9][0-9]{6,14}$")
_SEPARATORS = re.compile(r"[\s().-]")
_COUNTRY_CODE = re.compile(r"\+[1-9][0-9]{0,2}")
_SEPARATED = re.compile(r"\+?[ ().\-]*+[0-9][0-9 ().\-]*+")  # possessive: its time grows with the text only

Kind = Literal["phone", "username", "user_id", "number"]


def is_separated(text: str) -> bool:
    """Whether it is digits as people write them, with separators or without."""
    return _SEPARATED.fullmatch(text) is not None


def without_separators(digits: str) -> str:
    return _SEPARATORS.sub("", digits)


def within_context(text: str) -> str:
    """The number of a `tel:` address or of a SIP user like one, without its parameters (RFC 3966 3).

    A local number with a country code as its context is read behind that, if a phone comes of it. This is a guess, as
    RFC 3966 5.1.5 warns: what begins with a 0 or is as short as 911 is left for dial rules, and so are longer contexts.
    """
    number, *parameters = text.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    context = next((value for name, _, value in pairs if name.strip().lower() == "phone-context"), "")
    local, country = without_separators(number), without_separators(context)
    is_national = is_separated(number.strip()) and not local.startswith(("+", "0"))
    if is_national and _COUNTRY_CODE.fullmatch(country) and _PHONE.fullmatch(country[1:] + local):
        return country + number.strip()
    return number


@dataclass(frozen=True)
class Called:
    """A parsed identifier. Kind `number` is a run of digits that may be a phone or a user id."""

    kind: Kind
    value: str


def parse_called(text: str) -> Called | None:
    """`+phone`, `phone`, `@username`, `tg#username`, `username` or a user id; None when it is none of them.

    A leading 0 marks a user id, which removes the doubt between a phone and an id of the same length.
    """
    text = text.strip()
    for prefix in ("@", "tg#"):
        if text.startswith(prefix):
            name = text.removeprefix(prefix)
            return Called("username", name) if _USERNAME.match(name) else None
    digits = without_separators(text)
    if digits.startswith("+"):
        return Called("phone", digits[1:]) if _PHONE.match(digits[1:]) else None
    if digits.isascii() and digits.isdigit():
        return _parse_digits(digits)
    return Called("username", text) if _USERNAME.match(text) else None


def _parse_digits(digits: str) -> Called | None:
    if digits.startswith("0"):
        value = digits.lstrip("0")
        return Called("user_id", value) if value and int(value) < _LONGEST_USER_ID else None
    if int(digits) >= _LONGEST_USER_ID:
        return None
    return Called("number" if _PHONE.match(digits) else "user_id", digits)
