"""Digest authentication as a client (RFC 7616, RFC 8760): the answer to a 401 or 407."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from teletrunk_worker.sip import digest
from teletrunk_worker.sip.message import Response
from teletrunk_worker.sip.scanner import quoted

_HASHES: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}  # the best first
_ORDER: Final = tuple(_HASHES)
_CHALLENGES: Final = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}
_MOST_REALMS: Final = 3


@dataclass(frozen=True)
class Account:
    """Who we are to a server, and what proves it."""

    username: str
    password: str = field(repr=False)


@dataclass
class Challenge:
    """What a server wants to be answered. `count` is of the requests that were, with this nonce."""

    header: str  # the one that the answer goes into
    realm: str
    nonce: str
    algorithm: str
    opaque: str = ""
    qop: str = ""
    stale: bool = False
    count: int = field(default=0, compare=False)

    def answer(self, method: str, uri: str, username: str, password: str) -> str:
        """The value of `header` for a request to `uri`."""

        def hashed(*parts: str) -> str:
            text = ":".join(parts).encode("utf-8", "surrogateescape")  # a realm may be in any encoding
            return hashlib.new(_HASHES[self.algorithm], text, usedforsecurity=False).hexdigest()

        self.count += 1
        nc, cnonce = f"{self.count:08x}", secrets.token_hex(8)
        middle = (self.nonce, nc, cnonce, self.qop) if self.qop else (self.nonce,)
        response = hashed(hashed(username, self.realm, password), *middle, hashed(method, uri))
        texts = {"username": username, "realm": self.realm, "nonce": self.nonce, "uri": uri, "response": response}
        if self.opaque:
            texts["opaque"] = self.opaque
        if self.qop:
            texts["cnonce"] = cnonce
        plain = {"algorithm": self.algorithm} | ({"qop": self.qop, "nc": nc} if self.qop else {})
        values = [f"{name}={quoted(value)}" for name, value in texts.items()]
        return "Digest " + ", ".join([*values, *(f"{name}={value}" for name, value in plain.items())])


class Credentials:
    """For each realm that has asked: a proxy may, and whom it leads to (RFC 3261 22.3)."""

    def __init__(self) -> None:
        self._challenges: dict[tuple[str, str], Challenge] = {}  # a proxy may have the realm of its server

    def take(self, fresh: Iterable[Challenge]) -> bool:
        """False when there is none of them that has not seen our answer yet."""
        taken = [self._take(challenge) for challenge in fresh]  # all of them
        return any(taken)

    def _take(self, fresh: Challenge) -> bool:
        whose = fresh.header, fresh.realm
        known = self._challenges.get(whose)
        if known is not None and known.nonce == fresh.nonce and not fresh.stale:
            return False
        if known is None and len(self._challenges) >= _MOST_REALMS:
            del self._challenges[next(iter(self._challenges))]
        self._challenges[whose] = fresh
        return True

    def answers(self, method: str, uri: str, account: Account) -> list[tuple[str, str]]:
        """Headers of a request."""
        return [
            (challenge.header, challenge.answer(method, uri, account.username, account.password))
            for challenge in self._challenges.values()
        ]


def challenges_of(response: Response) -> list[Challenge]:
    """Those of a response that can be answered: each realm's (RFC 3261 22.3) by the best digest.

    Whatever stands first: RFC 8760 2.4 lets a local policy say so.
    """
    if response.code not in _CHALLENGES:
        return []
    name, header = _CHALLENGES[response.code]
    best: dict[str, Challenge] = {}
    for value in response.headers.getlist(name):
        if (found := _challenge(value, header)) is not None:
            best[found.realm] = min(best.get(found.realm, found), found, key=lambda one: _ORDER.index(one.algorithm))
    return list(best.values())[:_MOST_REALMS]


def _challenge(value: str, header: str) -> Challenge | None:
    said = digest.parameters(value)
    if said is None:
        return None
    algorithm = said.get("algorithm", "MD5").upper()
    offered = {word.strip().lower() for word in said.get("qop", "").split(",") if word.strip()}
    if algorithm not in _HASHES or not said.get("nonce") or (offered and "auth" not in offered):
        return None
    return Challenge(
        header=header,
        realm=said.get("realm", ""),
        nonce=said["nonce"],
        algorithm=algorithm,
        opaque=said.get("opaque", ""),
        qop="auth" if offered else "",
        stale=said.get("stale", "").lower() == "true",
    )
