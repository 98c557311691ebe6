"""Checks a digest answer against a password (RFC 7616, RFC 8760). Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

REALM = "teletrunk"
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


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


def is_md5(algorithm: str) -> bool:
    """RFC 7616: MD5 is what a client means that names none."""
    return (algorithm or "MD5").upper() == "MD5"


def matches(answer: DigestAnswer, password: str, realm: str = REALM) -> bool:
    """Whether `password` gives this response. Compares in constant time."""
    algorithm = _HASHES.get("MD5" if is_md5(answer.algorithm) else answer.algorithm.upper())
    if algorithm is None or answer.realm != realm or answer.qop not in ("", "auth"):
        return False

    def digest(*parts: str) -> str:
        return hashlib.new(algorithm, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    secret = digest(answer.username, answer.realm, password)
    request = digest(answer.method, answer.uri)
    middle = (answer.nonce, answer.nc, answer.cnonce, answer.qop) if answer.qop else (answer.nonce,)
    expected = digest(secret, *middle, request)
    # As bytes: a response that is no ASCII is wrong, not an error.
    return hmac.compare_digest(expected.encode(), answer.response.lower().encode())
