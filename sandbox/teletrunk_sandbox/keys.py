"""The data centre's RSA key pair: https://core.telegram.org/mtproto/auth_key."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pyrogram.raw.core import Bytes


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An RSA public key as MTProto names it, by fingerprint."""

    modulus: int
    exponent: int

    @property
    def fingerprint(self) -> int:
        """The low 64 bits of SHA-1 over the TL-serialised modulus and exponent."""
        material = b"".join(bytes(Bytes(_big_endian(number))) for number in (self.modulus, self.exponent))
        return int.from_bytes(hashlib.sha1(material).digest()[-8:], "little", signed=True)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The data centre's key: decrypts what a client sent for its eyes only."""

    public: PublicKey
    secret_exponent: int

    def decrypt(self, data: bytes) -> bytes:
        """Undo the client's textbook RSA; the result is the 255 bytes that it padded."""
        number = pow(int.from_bytes(data, "big"), self.secret_exponent, self.public.modulus)
        return number.to_bytes(256, "big")[1:]


def load_or_create(directory: Path, given: Path | None = None) -> PrivateKey:
    """Read the key that is given, or `rsa.pem` of the directory, made on the first start; writes `rsa.pub.pem`."""
    path = given or directory / "rsa.pem"
    if given is None and not path.exists():
        _create(path)
    loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ValueError(f"{path} is not an RSA key")
    public_file(directory).write_bytes(
        loaded.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return PrivateKey(_public(loaded.public_key()), loaded.private_numbers().d)


def public_file(directory: Path) -> Path:
    """Where the public key lies for those who are to trust this data centre."""
    return directory / "rsa.pub.pem"


def read_public(path: Path) -> PublicKey:
    """Read a PEM public key."""
    loaded = serialization.load_pem_public_key(path.read_bytes())
    if not isinstance(loaded, rsa.RSAPublicKey):
        raise ValueError(f"{path} is not an RSA public key")
    return _public(loaded)


def _create(path: Path) -> None:
    pair = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = pair.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)


def _public(key: rsa.RSAPublicKey) -> PublicKey:
    numbers = key.public_numbers()
    return PublicKey(numbers.n, numbers.e)


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
