"""Creating an auth key: https://core.telegram.org/mtproto/auth_key."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
from io import BytesIO
from typing import Any

from pyrogram import raw
from pyrogram.crypto import aes
from pyrogram.crypto.prime import CURRENT_DH_PRIME
from pyrogram.raw.core import TLObject

from teletrunk_sandbox.clock import Clock
from teletrunk_sandbox.errors import ProtocolViolation
from teletrunk_sandbox.keys import PrivateKey

GENERATOR = 3
_MARGIN = 1 << (2048 - 64)


class Handshake:
    """One client's exchange: req_pq_multi, req_DH_params, set_client_DH_params, in this order."""

    def __init__(self, key: PrivateKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._nonce = 0
        self._server_nonce = int.from_bytes(os.urandom(16), "little", signed=True)
        self._p, self._q = _two_primes()
        self._secret = int.from_bytes(os.urandom(256), "big")
        self._new_nonce = b""
        self.auth_key: bytes | None = None

    def answer(self, query: Any) -> TLObject[Any]:
        """The answer to one step; `auth_key` is set once the last one went well."""
        if isinstance(query, raw.functions.ReqPqMulti | raw.functions.ReqPq):
            return self._resolve_pq(query.nonce)
        if not isinstance(query, raw.functions.ReqDHParams | raw.functions.SetClientDHParams):
            raise ProtocolViolation("not a step of the key exchange")
        if query.nonce != self._nonce or query.server_nonce != self._server_nonce:
            raise ProtocolViolation("nonces of another exchange")
        if isinstance(query, raw.functions.ReqDHParams):
            return self._dh_params(query)
        return self._finish(query)

    def _resolve_pq(self, nonce: int) -> raw.types.ResPQ:
        self._nonce = nonce
        pq = self._p * self._q
        return raw.types.ResPQ(
            nonce=nonce,
            server_nonce=self._server_nonce,
            pq=pq.to_bytes(8, "big"),
            server_public_key_fingerprints=[self._key.public.fingerprint],
        )

    def _dh_params(self, query: raw.functions.ReqDHParams) -> raw.types.ServerDHParamsOk:
        if (int.from_bytes(query.p, "big"), int.from_bytes(query.q, "big")) != (self._p, self._q):
            raise ProtocolViolation("p and q are not the factors")
        inner = _hashed(self._key.decrypt(query.encrypted_data))
        if inner.nonce != self._nonce or inner.server_nonce != self._server_nonce:
            raise ProtocolViolation("inner nonces of another exchange")
        self._new_nonce = inner.new_nonce.to_bytes(32, "little", signed=True)
        data = raw.types.ServerDHInnerData(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            g=GENERATOR,
            dh_prime=CURRENT_DH_PRIME.to_bytes(256, "big"),
            g_a=pow(GENERATOR, self._secret, CURRENT_DH_PRIME).to_bytes(256, "big"),
            server_time=int(self._clock.now()),
        ).write()
        plain = hashlib.sha1(data).digest() + data
        plain += os.urandom(-len(plain) % 16)
        return raw.types.ServerDHParamsOk(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            encrypted_answer=aes.ige256_encrypt(plain, *self._temporary_key()),
        )

    def _finish(self, query: raw.functions.SetClientDHParams) -> TLObject[Any]:
        if not self._new_nonce or len(query.encrypted_data) % 16:
            raise ProtocolViolation("set_client_DH_params out of order")
        inner = _hashed(aes.ige256_decrypt(query.encrypted_data, *self._temporary_key()))
        g_b = int.from_bytes(inner.g_b, "big")
        if not _MARGIN < g_b < CURRENT_DH_PRIME - _MARGIN:
            raise ProtocolViolation("g_b out of range")
        auth_key = pow(g_b, self._secret, CURRENT_DH_PRIME).to_bytes(256, "big")
        self.auth_key = auth_key
        auxiliary = hashlib.sha1(auth_key).digest()[:8]
        nonce_hash = hashlib.sha1(self._new_nonce + b"\x01" + auxiliary).digest()[-16:]
        return raw.types.DhGenOk(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            new_nonce_hash1=int.from_bytes(nonce_hash, "little", signed=True),
        )

    def _temporary_key(self) -> tuple[bytes, bytes]:
        new, server = self._new_nonce, self._server_nonce.to_bytes(16, "little", signed=True)
        new_server = hashlib.sha1(new + server).digest()
        server_new = hashlib.sha1(server + new).digest()
        new_new = hashlib.sha1(new + new).digest()
        return new_server + server_new[:12], server_new[12:] + new_new + new[:4]


def _hashed(plain: bytes) -> Any:
    """Read the object after its SHA-1, which tells a wrong key from a right one."""
    try:
        inner = TLObject.read(BytesIO(plain[20:]))
        digest = hashlib.sha1(inner.write()).digest()
    except Exception as error:  # garbage makes the generated readers raise anything
        raise ProtocolViolation("encrypted data is not an object") from error
    if not hmac.compare_digest(digest, plain[:20]):
        raise ProtocolViolation("encrypted data does not match its hash")
    return inner


def _two_primes() -> tuple[int, int]:
    # The real server's factors are near 2^31; smaller ones prove the same and spare the client time.
    p = q = _prime()
    while p == q:
        q = _prime()
    return min(p, q), max(p, q)


def _prime() -> int:
    while True:
        candidate = random.randrange(1 << 20, 1 << 21) | 1
        if all(candidate % divisor for divisor in range(3, 1449, 2)):
            return candidate
