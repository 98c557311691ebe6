"""The ids of sign-ins. They say where one runs, so that any Manager can take the next step, and bear the Manager's mark
for the administrator who began it: nobody else can go on with it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from teletrunk_manager.db.audit import asker
from teletrunk_manager.mistakes import Unknown
from teletrunk_manager.proofs import Proofs


@dataclass(frozen=True)
class SignIn:
    storage_id: str
    sign_in_id: str  # the Storage's own name for it
    moves: str = ""  # the account that it is known to be of


class SignIns:
    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs

    def begun(self, storage_id: str, sign_in_id: str, moves: str = "") -> str:
        return f"{storage_id}:{sign_in_id}:{moves}:{self._mark(storage_id, sign_in_id, moves)}"

    def find(self, text: str) -> SignIn:
        """Raises `Unknown`, also for one that another administrator began; owners go on with anybody's."""
        storage_id, _, rest = text.partition(":")
        sign_in_id, moves, mark = [*rest.rsplit(":", 2), "", ""][:3]
        if hmac.compare_digest(mark.encode(), self._mark(storage_id, sign_in_id, moves).encode()):
            return SignIn(storage_id, sign_in_id, moves)
        if asker() or not sign_in_id:
            raise Unknown("there is no such sign-in: start again")
        return SignIn(storage_id, sign_in_id)

    def _mark(self, *parts: str) -> str:
        return self._proofs.of_sign_in(asker(), *parts)[:16].hex()
