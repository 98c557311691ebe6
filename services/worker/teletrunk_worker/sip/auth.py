"""Digest challenges and their nonces (RFC 7616, RFC 8760).

The Worker makes nonces and checks that an answer belongs to a live one; the Manager, which alone knows the
passwords, checks the response. A nonce carries its time of birth and an HMAC over that and the peer's address,
so nothing is stored for peers that never answer; those that were answered are kept until they have expired.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from teletrunk_worker.sip import digest
from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.quirks import only_md5
from teletrunk_worker.sip.scanner import Malformed, readable
from teletrunk_worker.sip.uri import parse_uri

REALM = "teletrunk"
ALGORITHMS = ("SHA-256", "MD5")  # in our order of preference
LIFETIME_S: Final = 120.0
_KEPT_BY_CLIENTS_S = 3_600.0  # a PBX shows its last nonce again when it registers anew
_BETTER = "SHA-256"
MOST_ANSWERED: Final = 100_000  # nonces: 800 a second over their lifetime
MOST_OF_STRANGERS: Final = MOST_ANSWERED // 2  # so that strangers of any number leave room for whom we know
_LONGEST_LOGIN = 64
_NONCE_LENGTH = 40
_LONGEST_WORD = 16
_MOST_GIVEN = 5_000  # that are said again
_MOST_ANSWERS = 4  # of one request that are looked at
_NONCE = re.compile(rb'nonce\s*+=\s*+"?([A-Za-z0-9_\-]{40})(?![A-Za-z0-9_\-])', re.IGNORECASE)
_COUNT = re.compile(r"[0-9A-Fa-f]{0,8}")


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
    """The request's digest answer to a challenge of ours, or None when it has none that can be read."""
    found = [
        answer
        for name in ("Authorization", "Proxy-Authorization")
        for value in request.headers.getlist(name)
        if (answer := _digest(value, request.method)) is not None
    ]
    return next((answer for answer in found if answer.realm == REALM), found[0] if found else None)


def _digest(value: str, method: str) -> Credentials | None:
    """RFC 7616 3.4. What cannot be read counts as not given: the client is challenged."""
    given = digest.parameters(value)
    if given is None:
        return None
    fields = {name: readable(text) for name, text in given.items()}
    username = fields.get("username", "")
    if not 0 < len(username) <= _LONGEST_LOGIN or len(fields.get("nonce", "")) != _NONCE_LENGTH:
        return None  # it answers no challenge of ours, and would only be kept
    return Credentials(
        username=username,
        realm=fields.get("realm", ""),
        nonce=fields.get("nonce", ""),
        uri=fields.get("uri", ""),
        qop=fields.get("qop", ""),
        nc=fields.get("nc", ""),
        cnonce=fields.get("cnonce", ""),
        response=fields.get("response", ""),
        algorithm=fields.get("algorithm") or "MD5",
        method=method,
    )


def is_for(credentials: Credentials, request: Request) -> bool:
    """Whether the answer was made for this Request-URI (RFC 7616 3.4.6): who is called is part of what it proves.

    A proxy on the way may have changed where the request goes (host, port, parameters), never for whom it is.
    """
    if credentials.uri == request.target:
        return True
    try:
        meant, asked = parse_uri(credentials.uri), request.uri
    except Malformed:
        return False
    return (meant.scheme, meant.user, meant.number) == (asked.scheme, asked.user, asked.number)


def objection(credentials: Credentials, request: Request) -> str:
    """Why the answer is worth nothing whatever the password, for a reason phrase; empty when it may be right."""
    if credentials.algorithm.upper() not in ALGORITHMS:  # one that is known but not offered is asked for anew
        return f"Authorization: algorithm {credentials.algorithm[:_LONGEST_WORD]} is not offered"
    if credentials.qop not in ("", "auth"):
        return f"Authorization: qop {credentials.qop[:_LONGEST_WORD]} is not offered, auth is"
    return "" if is_for(credentials, request) else "the digest's uri is not the Request-URI"


class Nonces:
    """Makes nonces, and tells fresh answers from stale, replayed and foreign ones."""

    def __init__(self, algorithms: tuple[str, ...] = ALGORITHMS, clock: Callable[[], float] = time.time) -> None:
        self._algorithms = algorithms
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._given: dict[bytes, str] = {}  # the latest, by what asked for them
        self._answered: dict[str, tuple[float, int]] = {}  # birth and highest count, by nonce, the first answered first

    def challenges(
        self, address: str, request: Request | None = None, *, stale: bool = False, only: str = ""
    ) -> list[tuple[str, str]]:
        """One WWW-Authenticate header for each algorithm, the preferred first; the same nonce in all.

        `only` is the one that the client is known to bear, or has to.
        """
        algorithms = self._algorithms
        if request is not None and only_md5(request) and "MD5" in algorithms:
            algorithms = ("MD5",)
        if only in self._algorithms or only == _BETTER:  # what a trunk insists on is offered all the same
            algorithms = (only,)
        nonce = self._nonce_for(address, request)
        suffix = ", stale=true" if stale else ""
        return [
            (
                "WWW-Authenticate",
                f'Digest realm="{REALM}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{suffix}',
            )
            for algorithm in algorithms
        ]

    def has_one_of_ours(self, data: bytes, address: str) -> bool:
        """Whether a message, not read yet, names a nonce that was given to this address: it cannot be spoofed."""
        named = (found[1].decode() for found in islice(_NONCE.finditer(data), _MOST_ANSWERS))
        return any(not self._is_older(nonce, address, _KEPT_BY_CLIENTS_S) for nonce in named)

    def check(self, credentials: Credentials, address: str, *, known: bool = False) -> Freshness:
        """Whether the answer is to a nonce of ours, and was not seen before: each (nonce, nc) passes once.

        An answered nonce is forgotten when it has expired, never to make room: while there is none, all are stale.
        A stranger's is stale as soon as half is used, not so one from a `known` address.
        """
        born = self._born(credentials.nonce, address)
        if born is None or credentials.realm != REALM or self._asks_for_another(credentials.algorithm):
            return Freshness.FOREIGN
        if self._clock() - born > LIFETIME_S:
            return Freshness.STALE
        if not _COUNT.fullmatch(credentials.nc):
            return Freshness.FOREIGN
        count = int(credentials.nc or "0", 16)
        _, highest = self._answered.get(credentials.nonce, (0.0, -1))
        if count <= highest or not self._has_room(credentials.nonce, MOST_ANSWERED if known else MOST_OF_STRANGERS):
            return Freshness.STALE
        return Freshness.FRESH

    def remember(self, credentials: Credentials, address: str) -> None:
        """A fresh answer is used: from now on it is worth nothing."""
        born = self._born(credentials.nonce, address)
        if born is not None:
            self._answered[credentials.nonce] = (born, int(credentials.nc or "0", 16))

    def _asks_for_another(self, algorithm: str) -> bool:
        """Than one that clients can choose from; who invents one is told so (`objection`)."""
        return algorithm.upper() in ALGORITHMS and algorithm.upper() not in (*self._algorithms, _BETTER)

    def _has_room(self, nonce: str, most: int) -> bool:
        expired = self._clock() - LIFETIME_S
        while self._answered and self._answered[first := next(iter(self._answered))][0] < expired:
            del self._answered[first]
        return nonce in self._answered or len(self._answered) < most

    def _nonce_for(self, address: str, request: Request | None) -> str:
        """The same for a request that comes again: some take a second challenge for a refusal of their answer."""
        if request is None:
            return self._make(address, self._clock())
        seed = "|".join((address, request.via.branch, request.call_id, str(request.cseq)))
        key = hashlib.blake2b(seed.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        given = self._given.get(key)
        if given is None or self._is_older(given, address, LIFETIME_S / 2):
            given = self._given[key] = self._make(address, self._clock())
            if len(self._given) > _MOST_GIVEN:
                del self._given[next(iter(self._given))]
        return given

    def _is_older(self, nonce: str, address: str, seconds: float) -> bool:
        born = self._born(nonce, address)
        return born is None or self._clock() - born > seconds

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
