"""A session's id tells who may say that they run it: only the holders of the vault can show what it was made of.

The proof is made of the session, which says nothing of it, and the id of the proof.
"""

from __future__ import annotations

import hashlib
import hmac
import re

_PROOF, _ID = b"teletrunk session proof", b"teletrunk session id"
_FORM = re.compile(r"[0-9a-f]{32}")


def proof_of(session: str) -> bytes:
    return hmac.digest(session.encode(), _PROOF, hashlib.sha256)


def id_of(proof: bytes) -> str:
    return hmac.digest(proof, _ID, hashlib.sha256).hex()[:32]


def is_proven(session_id: str, proof: bytes) -> bool:
    """Ids of sessions from before there were proofs are shorter, and believed."""
    return _FORM.fullmatch(session_id) is None or hmac.compare_digest(id_of(proof), session_id)
