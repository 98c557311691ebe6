"""The key of another data centre than Telegram's: a local one, for which alone this is imported."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pyrogram.crypto import rsa
from pyrogram.raw.core.primitives import Bytes
from teletrunk.config import ConfigurationError


def trust_only(path: Path) -> None:
    """Replaces Telegram's keys: a client that strays to the real network then fails at the handshake."""
    try:
        key = _public_key(path.read_bytes())
    except ValueError:
        raise ConfigurationError(f"TELETRUNK_TELEGRAM_RSA_KEY_FILE: {path} is no PEM public key") from None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError(f"TELETRUNK_TELEGRAM_RSA_KEY_FILE: {path} holds no RSA key")
    numbers = key.public_numbers()
    encoded = b"".join(
        bytes(Bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))) for value in (numbers.n, numbers.e)
    )
    fingerprint = int.from_bytes(hashlib.sha1(encoded).digest()[-8:], "little", signed=True)  # noqa: S324  by protocol
    rsa.server_public_keys.clear()
    rsa.server_public_keys[fingerprint] = rsa.PublicKey(numbers.n, numbers.e)


def _public_key(text: bytes) -> object:
    """Of a certificate, too. Raises ValueError."""
    if b"BEGIN CERTIFICATE" not in text:
        return load_pem_public_key(text)
    from cryptography.x509 import load_pem_x509_certificate  # 1 MB

    return load_pem_x509_certificate(text).public_key()
