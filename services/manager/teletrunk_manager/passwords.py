"""Trunk passwords: made here, shown once, kept sealed. A digest needs the password itself, so no hash will do."""

from __future__ import annotations

import hashlib
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from teletrunk.config import ConfigurationError, kept_secret

from teletrunk_manager.config import ManagerSettings

KEY_BYTES = 32
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no l, o, I, O, 0, 1
_LENGTH = 20
_NONCE_BYTES, _TAG_BYTES = 12, 16


def pbx_label(trunk_id: str) -> str:
    """What the password that we show a trunk's PBX is bound to: it does not open as the trunk's own."""
    return f"{trunk_id}/pbx"


class SealBroken(Exception):
    """The password was sealed under another key, or for another trunk, or is damaged."""


def make_password() -> str:
    """A fresh password that can be read aloud and typed without doubt."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def revision(sealed: bytes) -> int:
    """A number that another password has another one of, and that says nothing of it: each sealing has its nonce."""
    return int.from_bytes(hashlib.sha256(sealed).digest()[:7], "big") + 1


class PasswordSeal:
    """Seals under the Manager's key, bound to the trunk: moved to another row it does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, password: str, trunk_id: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, password.encode(), trunk_id.encode())

    def open(self, sealed: bytes, trunk_id: str) -> str:
        """Raises `SealBroken`."""
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise SealBroken(trunk_id)
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], trunk_id.encode()).decode()
        except InvalidTag:
            raise SealBroken(trunk_id) from None


def kept_key(settings: ManagerSettings) -> bytes:
    """The key that all Managers have; made when no file is named and there is none. Raises `ConfigurationError`."""
    path = settings.key_path
    try:
        key = (
            path.read_bytes()
            if settings.key_file
            else kept_secret(settings.data, path.name, lambda: os.urandom(KEY_BYTES))
        )
    except OSError as error:
        raise ConfigurationError(f"TELETRUNK_KEY_FILE: {path}: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path} is not a key of {KEY_BYTES} bytes: put the right file back")
    return key
