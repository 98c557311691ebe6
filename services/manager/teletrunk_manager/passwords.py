"""Secrets of the Manager's: kept sealed. Trunk passwords are made here and shown once; a digest needs the password
itself, so no hash will do."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from teletrunk.config import ConfigurationError, kept_secret

from teletrunk_manager.config import ManagerSettings

KEY_BYTES = 32
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no l, o, I, O, 0, 1
_LENGTH = 20
_NONCE_BYTES, _TAG_BYTES = 12, 16


@dataclass(frozen=True)
class Label:
    """What a secret is and whose: it opens as nothing else, wherever it is moved to."""

    kind: str
    row: str
    # What the version before bound it to. Where that is empty, what it has sealed does not open any more.
    before: str = ""

    @property
    def bound(self) -> bytes:
        """No label of the version before has a NUL."""
        return f"teletrunk\0{self.kind}\0{self.row}".encode()


def trunk_label(trunk_id: str) -> Label:
    """The password that a trunk's PBX shows us."""
    return Label("trunk", trunk_id, trunk_id)


def pbx_label(trunk_id: str) -> Label:
    """The password that we show a trunk's PBX."""
    return Label("pbx", trunk_id, f"{trunk_id}/pbx")


def webhook_label(webhook_id: str) -> Label:
    return Label("webhook", webhook_id, webhook_id)


def answer_label(key: str) -> Label:
    """An answer of the REST API, which is shown again. Its key is chosen by who asks: it could name another row."""
    return Label("answer", key)


class SealBroken(Exception):
    """It was sealed under another key, or as something else, or is damaged."""


def make_password() -> str:
    """A fresh password that can be read aloud and typed without doubt."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def revision(sealed: bytes) -> int:
    """A number that another password has another one of, and that says nothing of it: each sealing has its nonce."""
    return int.from_bytes(hashlib.sha256(sealed).digest()[:7], "big") + 1


class PasswordSeal:
    """Seals under the Manager's key, bound to the kind and the row: elsewhere it does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._marking = hmac.digest(key, b"teletrunk mark", hashlib.sha256)

    def mark(self, text: str, label: Label) -> str:
        """The same for the same text and label; without the key nobody can try what the text may have been."""
        bound = label.bound
        return hmac.digest(self._marking, len(bound).to_bytes(4) + bound + text.encode(), hashlib.sha256).hex()

    def close(self, secret: str, label: Label) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), label.bound)

    def open(self, sealed: bytes, label: Label) -> str:
        """Raises `SealBroken`."""
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise SealBroken(label.row)
        for bound in (label.bound, label.before.encode()):
            with contextlib.suppress(InvalidTag):
                if bound:
                    return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound).decode()
        raise SealBroken(label.row)


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
