"""Digest challenges and their nonces (RFC 7616, RFC 8760).

The edge makes nonces and checks that an answer belongs to a live one; the Manager, which alone knows the
passwords, checks the response. A nonce carries its time of birth and an HMAC over that and the peer's address,
so nothing is stored for peers that never answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from urllib.request import parse_http_list, parse_keqv_list

from sipmessage import Request

from teletrunk_worker.edge.quirks import only_md5

REALM = "teletrunk"
ALGORITHMS = ("SHA-256", "MD5")  # in our order of preference
_LIFETIME_S = 300
_MOST_COUNTED_NONCES = 20_000


class Freshness(Enum):
    FRESH = "fresh"
    STALE = "stale"  # was ours, but is too old or was used before: challenge again, the password may be right
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Credentials:
    """The Authorization header of a request, as the Manager wants it."""

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


def credentials_of(request: Request) -> Credentials | None:
    """The request's digest answer, or None when it has none that can be read."""
    for name in ("Authorization", "Proxy-Authorization"):
        for value in request.headers.getlist(name):
            scheme, _, answer = value.partition(" ")
            if scheme.lower() == "digest":
                # Not sipmessage's parser: its time doubles with each quoted parameter that a stranger adds.
                fields = parse_keqv_list([part for part in parse_http_list(answer) if "=" in part])
                return Credentials(
                    username=fields.get("username", ""),
                    realm=fields.get("realm", ""),
                    nonce=fields.get("nonce", ""),
                    uri=fields.get("uri", ""),
                    qop=fields.get("qop", ""),
                    nc=fields.get("nc", ""),
                    cnonce=fields.get("cnonce", ""),
                    response=fields.get("response", ""),
                    algorithm=fields.get("algorithm", "MD5"),
                    method=request.method,
                )
    return None


class Nonces:
    """Makes nonces, and tells fresh answers from stale, replayed and foreign ones."""

    def __init__(self, algorithms: tuple[str, ...] = ALGORITHMS) -> None:
        self._algorithms = algorithms
        self._secret = secrets.token_bytes(32)
        self._counts: OrderedDict[str, int] = OrderedDict()

    def challenges(
        self, address: str, user_agent: str = "", *, stale: bool = False, md5: bool = True
    ) -> list[tuple[str, str]]:
        """One WWW-Authenticate header for each algorithm, the preferred first; the same nonce in all."""
        algorithms = self._algorithms
        if not md5:
            algorithms = ("SHA-256",)
        elif only_md5(user_agent) and "MD5" in algorithms:
            algorithms = ("MD5",)
        nonce = self._make(address, time.time())
        suffix = ", stale=true" if stale else ""
        return [
            (
                "WWW-Authenticate",
                f'Digest realm="{REALM}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{suffix}',
            )
            for algorithm in algorithms
        ]

    def check(self, credentials: Credentials, address: str) -> Freshness:
        """Each (nonce, nc) passes once: a captured answer is worth nothing."""
        born = self._born(credentials.nonce, address)
        if born is None or credentials.realm != REALM:
            return Freshness.FOREIGN
        if time.time() - born > _LIFETIME_S:
            return Freshness.STALE
        try:
            count = int(credentials.nc, 16) if credentials.nc else 0
        except ValueError:
            return Freshness.FOREIGN
        if count <= self._counts.get(credentials.nonce, -1):
            return Freshness.STALE
        self._counts[credentials.nonce] = count
        self._counts.move_to_end(credentials.nonce)
        if len(self._counts) > _MOST_COUNTED_NONCES:
            self._counts.popitem(last=False)
        return Freshness.FRESH

    def _make(self, address: str, now: float) -> str:
        birth = struct.pack(">d", now) + secrets.token_bytes(6)
        return base64.urlsafe_b64encode(birth + self._seal(birth, address)).decode().rstrip("=")

    def _born(self, nonce: str, address: str) -> float | None:
        try:
            raw = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        except ValueError:
            return None
        if len(raw) != 30 or not hmac.compare_digest(raw[14:], self._seal(raw[:14], address)):
            return None
        return float(struct.unpack(">d", raw[:8])[0])

    def _seal(self, birth: bytes, address: str) -> bytes:
        return hmac.digest(self._secret, birth + address.encode(), hashlib.sha256)[:16]
