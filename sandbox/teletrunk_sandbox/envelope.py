"""Encrypted messages of MTProto 2.0, the server's side: https://core.telegram.org/mtproto/description."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from pyrogram.crypto import aes, mtproto

from teletrunk_sandbox.errors import ProtocolViolation

_HEAD = 32


@dataclass(frozen=True, slots=True)
class Message:
    """One message with the salt and session that its envelope names."""

    salt: int
    session_id: bytes
    msg_id: int
    seq_no: int
    body: bytes


def auth_key_id(auth_key: bytes) -> bytes:
    """The eight bytes that name an auth key on the wire."""
    return hashlib.sha1(auth_key).digest()[-8:]


def unseal(packet: bytes, auth_key: bytes) -> Message:
    """Decrypt a client's packet with the length, padding and msg_key checks of the security guidelines."""
    msg_key, sealed = packet[8:24], packet[24:]
    if len(sealed) < _HEAD + 16 or len(sealed) % 16:
        raise ProtocolViolation(f"encrypted part of {len(sealed)} bytes")
    plain = aes.ige256_decrypt(sealed, *mtproto.kdf(auth_key, msg_key, True))
    if not hmac.compare_digest(hashlib.sha256(auth_key[88:120] + plain).digest()[8:24], msg_key):
        raise ProtocolViolation("msg_key does not match")
    length = int.from_bytes(plain[28:32], "little")
    if length % 4 or not 12 <= len(plain) - _HEAD - length <= 1024:
        raise ProtocolViolation(f"message of {length} bytes in {len(plain)}")
    return Message(
        salt=int.from_bytes(plain[:8], "little", signed=True),
        session_id=plain[8:16],
        msg_id=int.from_bytes(plain[16:24], "little"),
        seq_no=int.from_bytes(plain[24:28], "little"),
        body=plain[_HEAD : _HEAD + length],
    )


def seal(message: Message, auth_key: bytes) -> bytes:
    """Encrypt a message for the client."""
    plain = b"".join(
        (
            message.salt.to_bytes(8, "little", signed=True),
            message.session_id,
            message.msg_id.to_bytes(8, "little"),
            message.seq_no.to_bytes(4, "little"),
            len(message.body).to_bytes(4, "little"),
            message.body,
        )
    )
    plain += os.urandom(-(len(plain) + 12) % 16 + 12)
    msg_key = hashlib.sha256(auth_key[96:128] + plain).digest()[8:24]
    sealed: bytes = aes.ige256_encrypt(plain, *mtproto.kdf(auth_key, msg_key, False))
    return auth_key_id(auth_key) + msg_key + sealed
