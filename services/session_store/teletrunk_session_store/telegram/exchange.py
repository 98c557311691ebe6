"""The Diffie-Hellman of a call (core.telegram.org/api/end-to-end/voice-calls), with all its checks.

The key of one call is agreed here, in the Storage, and handed to the Worker that carries the call. Powers of 2048 bits
are GMP's: some milliseconds, whatever the secret, in which no other thread runs; Python's take several times as long.
Callers run them off the event loop all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from gmpy2 import mpz, powmod_sec
from pyrogram.crypto.prime import CURRENT_DH_PRIME

_BYTES = 256
_PRIME = mpz(CURRENT_DH_PRIME)
_MARGIN = 1 << (2048 - 64)
_GENERATORS = (3, 4, 7)  # those that generate the right subgroup of the known prime


class ExchangeFailed(Exception):
    """The other side, or the server, sent what the protocol says must be refused."""


@dataclass(frozen=True)
class Agreed:
    """The call's key. It opens this one call and nothing else."""

    key: bytes = field(repr=False)
    fingerprint: int  # signed, as TL's long


def check_parameters(g: int, p: bytes) -> None:
    """Only the safe prime that Telegram has used since 2013 is known to be one; another is refused."""
    if int.from_bytes(p, "big") != CURRENT_DH_PRIME or g not in _GENERATORS:
        raise ExchangeFailed("unknown Diffie-Hellman parameters")


class Exchange:
    """Our half of one call's exchange."""

    def __init__(self, g: int, p: bytes) -> None:
        check_parameters(g, p)
        self._secret = secrets.randbits(2048)
        self.public = _power(g, self._secret)
        _check_range(self.public)

    @property
    def public_hash(self) -> bytes:
        """The commitment that a caller sends first."""
        return hashlib.sha256(self.public).digest()

    def agree(self, their_public: bytes, committed: bytes | None = None) -> Agreed:
        """The key from the other side's half; `committed` is the g_a_hash that it must match."""
        _check_range(their_public)
        if committed is not None and not hmac.compare_digest(hashlib.sha256(their_public).digest(), committed):
            raise ExchangeFailed("g_a does not match its hash")
        key = _power(int.from_bytes(their_public, "big"), self._secret)
        fingerprint = int.from_bytes(hashlib.sha1(key).digest()[-8:], "little", signed=True)  # noqa: S324  by protocol
        return Agreed(key, fingerprint)


def _power(base: int, secret: int) -> bytes:
    """In a time that says nothing about the secret."""
    return int(powmod_sec(base, secret, _PRIME)).to_bytes(_BYTES, "big")


def _check_range(public: bytes) -> None:
    if not _MARGIN < int.from_bytes(public, "big") < CURRENT_DH_PRIME - _MARGIN:
        raise ExchangeFailed("g_a or g_b is out of range")
