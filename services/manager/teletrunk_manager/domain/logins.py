"""The logins that trunks register as. Pure."""

from __future__ import annotations

import re
from collections.abc import Set

# What stands in a SIP URI's user part without escapes, and in a digest's username without quoting.
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def is_login(text: str) -> bool:
    """Whether every PBX can register with it."""
    return _LOGIN.fullmatch(text) is not None


def login_for(username: str, phone: str, taken: Set[str]) -> str:
    """A login that reminds of the account and is free."""
    base = re.sub(r"[^a-z0-9_]", "", username.lower()) or phone.lstrip("+") or "trunk"
    if base not in taken:
        return base
    number = next(n for n in range(2, len(taken) + 3) if f"{base}-{n}" not in taken)
    return f"{base}-{number}"
