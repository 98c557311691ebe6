"""Phone numbers of accounts. Pure."""

from __future__ import annotations

import re

# Telegram's own numbers, which no country has: anonymous ones (+888) and those of its test servers (+99966).
_TELEGRAM_OWN = re.compile(r"\+(888[0-9]{8}|99966[0-9]{5})")


def e164(text: str) -> str | None:
    """The number with + and country code; None when it cannot be one."""
    compact = "+" + re.sub(r"[\s().-]", "", text).removeprefix("+")
    if text.strip().startswith("+") and _TELEGRAM_OWN.fullmatch(compact):
        return compact
    import phonenumbers  # 1 MB; no call asks for it, only people who name an account

    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
