"""The server's half of SRP, for the 2FA password: https://core.telegram.org/api/srp."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from pyrogram.crypto.prime import CURRENT_DH_PRIME as PRIME

from teletrunk_sandbox.errors import bad_request
from teletrunk_sandbox.state import Password

GENERATOR = 3
PRIME_BYTES = PRIME.to_bytes(256, "big")
_ROUNDS = 100_000


def protect(text: str) -> Password:
    """What the server keeps of a password."""
    salt1, salt2 = secrets.token_bytes(16), secrets.token_bytes(16)
    first = _sha(salt2 + _sha(salt1 + text.encode() + salt1) + salt2)
    derived = hashlib.pbkdf2_hmac("sha512", first, salt1, _ROUNDS)
    x = int.from_bytes(_sha(salt2 + derived + salt2), "big")
    return Password(salt1.hex(), salt2.hex(), _wide(pow(GENERATOR, x, PRIME)).hex())


@dataclass(frozen=True, slots=True)
class Challenge:
    """One `srp_id`: good for one check."""

    id: int
    secret: int
    password: Password

    @classmethod
    def new(cls, password: Password) -> Challenge:
        """Draw the server's secret."""
        return cls(secrets.randbits(62), secrets.randbits(2048), password)

    @property
    def b_public(self) -> bytes:
        """`srp_B`."""
        return _wide((_multiplier() * self._verifier + pow(GENERATOR, self.secret, PRIME)) % PRIME)

    def check(self, srp_id: int, a_public: bytes, proof: bytes) -> None:
        """PASSWORD_HASH_INVALID unless the client knows the password."""
        a_number = int.from_bytes(a_public, "big")
        if srp_id != self.id:
            raise bad_request("SRP_ID_INVALID")
        if not 1 < a_number < PRIME - 1:
            raise bad_request("SRP_A_INVALID")
        a_wide = _wide(a_number)
        u = int.from_bytes(_sha(a_wide + self.b_public), "big")
        shared = pow(a_number * pow(self._verifier, u, PRIME), self.secret, PRIME)
        if not hmac.compare_digest(self._proof(a_wide, _sha(_wide(shared))), proof):
            raise bad_request("PASSWORD_HASH_INVALID")

    @property
    def _verifier(self) -> int:
        return int(self.password.verifier, 16)

    def _proof(self, a_public: bytes, key: bytes) -> bytes:
        group = bytes(p ^ g for p, g in zip(_sha(PRIME_BYTES), _sha(_wide(GENERATOR)), strict=True))
        salts = (_sha(bytes.fromhex(salt)) for salt in (self.password.salt1, self.password.salt2))
        return _sha(group + b"".join(salts) + a_public + self.b_public + key)


def _multiplier() -> int:
    return int.from_bytes(_sha(PRIME_BYTES + _wide(GENERATOR)), "big")


def _wide(number: int) -> bytes:
    return number.to_bytes(256, "big")


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
