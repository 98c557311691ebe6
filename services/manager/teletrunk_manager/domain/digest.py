"""Checks a digest answer against a password (RFC 7616, RFC 8760). Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

REALM = "teletrunk"
_HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass(frozen=True)
class DigestAnswer:
    """The parameters of an Authorization header."""

    username: str
    realm: str
    nonce: str
    uri: str
    qop: str
    nc: str
    cnonce: str
    response: str
    algorithm: str
    method: str


def matches(answer: DigestAnswer, password: str, realm: str = REALM) -> bool:
    """Whether `password` gives this response. Compares in constant time."""
    algorithm = _HASHES.get((answer.algorithm or "MD5").upper())
    if algorithm is None or answer.realm != realm or answer.qop not in ("", "auth"):
        return False

    def digest(*parts: str) -> str:
        return algorithm(":".join(parts).encode()).hexdigest()

    secret = digest(answer.username, answer.realm, password)
    request = digest(answer.method, answer.uri)
    middle = (answer.nonce, answer.nc, answer.cnonce, answer.qop) if answer.qop else (answer.nonce,)
    return hmac.compare_digest(digest(secret, *middle, request), answer.response.lower())
