"""Envelope encryption of sessions: a data key for each, sealed by the vault's key (AES-256-GCM)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES, _TAG_BYTES = 12, 16


class WrongKey(Exception):
    """The sealed value was not sealed by this key, belongs to another row, or is damaged."""


@dataclass(frozen=True)
class Sealed:
    """What is stored: the data key sealed by the vault's key, and the value sealed by the data key."""

    wrapped_key: bytes
    value: bytes


@dataclass(frozen=True)
class Seal:
    """`key` closes and opens; `also` are other keys that open: the last one, or the next one."""

    key: bytes = field(repr=False)
    also: tuple[bytes, ...] = field(default=(), repr=False)

    def close(self, value: bytes, owner: str) -> Sealed:
        """`owner` is bound to the result: the same bytes in another row do not open."""
        data_key = AESGCM.generate_key(256)
        return Sealed(_encrypt(self.key, data_key, owner), _encrypt(data_key, value, owner))

    def open(self, sealed: Sealed, owner: str) -> bytes:
        """Raises `WrongKey`."""
        return _decrypt(self._unwrapped(sealed.wrapped_key, owner), sealed.value, owner)

    def rewrapped(self, wrapped_key: bytes, owner: str) -> bytes | None:
        """The data key under our own key; None when it is already. Raises `WrongKey`. The value stays as it is."""
        try:
            _decrypt(self.key, wrapped_key, owner)
        except WrongKey:
            return _encrypt(self.key, self._unwrapped(wrapped_key, owner), owner)
        return None

    def _unwrapped(self, wrapped_key: bytes, owner: str) -> bytes:
        for key in (self.key, *self.also):
            try:
                return _decrypt(key, wrapped_key, owner)
            except WrongKey:
                continue
        raise WrongKey(owner)


def _encrypt(key: bytes, value: bytes, owner: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, owner.encode())


def _decrypt(key: bytes, sealed: bytes, owner: str) -> bytes:
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise WrongKey(owner)
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
    except InvalidTag:
        raise WrongKey(owner) from None
