"""How often administrators let Telegram be asked: it looks at accounts, and at the installation, that ask too much."""

from __future__ import annotations

from typing import Final

from teletrunk_manager.db.audit import asker
from teletrunk_manager.domain.pace import Pace
from teletrunk_manager.mistakes import TooOften

# Owners ask as they like.
_AT_ONCE, _EVERY_S = 20, 60.0
_SIGN_INS_AT_ONCE, _SIGN_IN_EVERY_S = 10, 120.0  # each draws a code
A_LOOK: Final = 0.1  # of what is mostly answered without Telegram


class TelegramPace:
    """One for all that is asked: each administrator's, and each account's, whoever asks in its name."""

    def __init__(self) -> None:
        self._of_administrators = Pace(_AT_ONCE, 1 / _EVERY_S)
        self._of_accounts = Pace(2 * _AT_ONCE, 2 / _EVERY_S)
        self._of_sign_ins = Pace(_SIGN_INS_AT_ONCE, 1 / _SIGN_IN_EVERY_S)

    def require(self, account_id: str = "", cost: float = 1.0) -> None:
        """Raises `TooOften`."""
        self._require(self._of_administrators, asker(), cost)
        if account_id:
            self._require(self._of_accounts, account_id, cost)

    def require_sign_in(self) -> None:
        """Raises `TooOften`."""
        self._require(self._of_sign_ins, asker(), 1.0, "sign-ins")

    def _require(self, pace: Pace, name: str, cost: float, what: str = "questions to Telegram") -> None:
        if asker() and not pace.allows(name, cost):
            raise TooOften(what, pace.seconds(name))
