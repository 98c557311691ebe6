"""A file that only its passphrase opens: scrypt makes the key, AES-256-GCM seals chunk after chunk.

The construction is the one called STREAM: a chunk's nonce is its number and whether it is the last, so that a chunk
that is altered, moved, left out or cut off does not open. Memory is that of one chunk, however long the file is.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from teletrunk.config import ConfigurationError

_MAGIC: Final = b"teletrunk backup 1\n"
_SALT_BYTES, _TAG_BYTES = 16, 16
_CHUNK_BYTES: Final = 64 << 10
_COST = 1 << 17  # scrypt's N; with r = 8 a guess costs 128 MB of memory
SHORTEST_PASSPHRASE: Final = 12


class BackupError(ConfigurationError):
    """The backup cannot be made or used; the text is one line that says why."""


@functools.lru_cache(maxsize=1)  # a restore reads its file more than once
def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase.encode())


class _Cipher:
    def __init__(self, passphrase: str, header: bytes) -> None:
        self._aead = AESGCM(_key(passphrase, header[len(_MAGIC) :]))
        self._header = header
        self._number = 0

    def _nonce(self, last: bool) -> bytes:
        nonce = self._number.to_bytes(11, "big") + bytes([last])
        self._number += 1
        return nonce

    def seal(self, chunk: bytes, *, last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(last), chunk, self._header)

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """Raises `BackupError`."""
        first = self._number == 0
        try:
            return self._aead.decrypt(self._nonce(last), sealed, self._header)
        except InvalidTag:
            why = "the passphrase is wrong, or the file is damaged" if first else "it is damaged or cut off"
            raise BackupError(f"the backup cannot be read: {why}") from None


class SealedWriter(io.RawIOBase):
    """Binary writing. The file is whole only after `finish`."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        header = _MAGIC + os.urandom(_SALT_BYTES)
        file.write(header)
        self._file = file
        self._cipher = _Cipher(passphrase, header)
        self._buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # it is never asked to take a part only
        self._buffer += data
        while len(self._buffer) > _CHUNK_BYTES:  # the last one is known only at the end
            self._file.write(self._cipher.seal(bytes(self._buffer[:_CHUNK_BYTES]), last=False))
            del self._buffer[:_CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """Without it the file is one that was cut off."""
        self._file.write(self._cipher.seal(bytes(self._buffer), last=True))
        self._buffer.clear()


class SealedReader(io.RawIOBase):
    """Binary reading. Raises `BackupError` for what is no backup, and as soon as something does not open."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        header = file.read(len(_MAGIC) + _SALT_BYTES)
        if not header.startswith(_MAGIC) or len(header) < len(_MAGIC) + _SALT_BYTES:
            raise BackupError("it is no backup of this or an earlier version of Teletrunk")
        self._file = file
        self._cipher = _Cipher(passphrase, header)
        self._sealed = file.read(_CHUNK_BYTES + _TAG_BYTES)
        self._open = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._open and not self._ended:
            following = self._file.read(_CHUNK_BYTES + _TAG_BYTES)
            self._ended = not following
            self._open = self._cipher.open(self._sealed, last=self._ended)
            self._sealed = following
        count = min(len(buffer), len(self._open))
        buffer[:count] = self._open[:count]
        self._open = self._open[count:]
        return count


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there, whole and its owner's alone, only when the block has succeeded. Nothing is overwritten.

    Raises `BackupError`.
    """
    if path.exists():
        raise BackupError(f"{path} exists already: give another name")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # whoever comes at the same moment fails
        part.replace(path)
    except FileExistsError:
        raise BackupError(f"{path} exists already: give another name") from None
    except (TimeoutError, ConnectionError):  # of a database that the block reads
        raise
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def passphrase_in(path: Path) -> str:
    """The first line of a file. Raises `BackupError`."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{path} cannot be read: {error}") from None
    return checked_passphrase(lines[0] if lines else "")


def checked_passphrase(passphrase: str) -> str:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise BackupError(f"a passphrase has {SHORTEST_PASSPHRASE} characters or more")
    return passphrase
