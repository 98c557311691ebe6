"""What a second Manager needs, in one file: the authority and the key that seals passwords, under a passphrase.

The file is JSON: scrypt's salt, AES-GCM's nonce, and what they seal.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from teletrunk.config import ConfigurationError, load

from teletrunk_manager.authority import Authority, files
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.passwords import KEY_BYTES, kept_key

FORMAT: Final = "teletrunk-authority-1"
_SHORTEST = 12  # characters of a passphrase: the file may be copied, and guessed at for as long as anybody likes
_SALT_BYTES, _NONCE_BYTES = 16, 12
_COST, _BLOCK, _LANES = 2**17, 8, 1  # scrypt: 128 MB and half a second for each guess


def export(target: Path, passphrase: str) -> str:
    """Writes the file; makes authority and key when there are none. Raises `ConfigurationError`.

    Returns a line for the person who asked.
    """
    if len(passphrase) < _SHORTEST:
        raise ConfigurationError(f"the passphrase must have {_SHORTEST} characters or more")
    settings = load(ManagerSettings)
    directory = settings.authority_directory
    Authority.open(directory, settings.certificate_days)
    certificate, key = files(directory)
    if not settings.key_path.exists():
        _write({settings.key_path: os.urandom(KEY_BYTES)})
    contents = [certificate.read_bytes(), key.read_bytes(), kept_key(settings)]
    inside = json.dumps([_text(content) for content in contents]).encode()
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, inside, FORMAT.encode())
    fields = {"format": FORMAT, "salt": _text(salt), "nonce": _text(nonce), "sealed": _text(sealed)}
    _write({target: json.dumps(fields).encode() + b"\n"})
    return f"{target} holds the authority and the key of this Manager: teletrunk authority import {target.name} there."


def take(source: Path, passphrase: str) -> str:
    """Puts what the file holds where a Manager looks for it. Raises `ConfigurationError`; overwrites nothing."""
    settings = load(ManagerSettings)
    certificate, key, manager_key = _opened(source, passphrase)
    there = settings.authority_directory
    found = [path for path in (*files(there), settings.key_path) if path.exists()]
    if found:
        raise ConfigurationError(f"{found[0]} is there already: a Manager that has one is no second one")
    _write({
        there / "authority.pem": certificate,
        there / "authority.key": key,
        settings.key_path: manager_key,
    })  # fmt: skip
    return f"The authority is in {there}, the key is {settings.key_path}."


def _opened(source: Path, passphrase: str) -> list[bytes]:
    try:
        fields = json.loads(source.read_bytes())
        salt, nonce, sealed = (base64.b64decode(fields[name]) for name in ("salt", "nonce", "sealed"))
        if fields["format"] != FORMAT:
            raise ValueError
        inside = AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, FORMAT.encode())
        return [base64.b64decode(part) for part in json.loads(inside)]
    except OSError as error:
        raise ConfigurationError(f"{source}: {error.strerror}") from None
    except InvalidTag:
        raise ConfigurationError(f"{source}: the passphrase is wrong, or the file was changed") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{source} is no file of `teletrunk authority export`") from None


def _write(contents: dict[Path, bytes]) -> None:
    """For their owner alone; none when one of them cannot be."""
    written: list[Path] = []
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from None


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=_COST, r=_BLOCK, p=_LANES).derive(passphrase.encode())


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
