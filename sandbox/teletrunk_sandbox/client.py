"""Pointing an unmodified kurigram client at the sandbox.

trust(Path("state/rsa.pub.pem"))
client = Client("name", api_id=1, api_hash="x" * 32, connection_factory=connect_factory(host, port))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrogram.connection import Connection
from pyrogram.crypto import rsa

from teletrunk_sandbox import keys

_TELEGRAMS = frozenset(rsa.server_public_keys)


def trust(rsa_pem_path: Path | str) -> None:
    """Trust this data centre, and the real one no more: a client that strays there fails at once."""
    for fingerprint in _TELEGRAMS:
        rsa.server_public_keys.pop(fingerprint, None)
    key = keys.read_public(Path(rsa_pem_path))
    rsa.server_public_keys[key.fingerprint] = rsa.PublicKey(key.modulus, key.exponent)


def connect_factory(host: str, port: int) -> Callable[..., Connection]:
    """A `connection_factory` that goes to one address, whatever the client has in its session."""

    def connect(**options: Any) -> Connection:
        return Connection(**{**options, "server_address": host, "port": port})

    return connect
