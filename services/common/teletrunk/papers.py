"""What a service proves itself with: its certificate and key, as files under DATA/identity.

On one machine no service has any: to be imported where there are some only. The library takes 3 MB.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teletrunk.identity import Identity
from teletrunk.metrics import CERTIFICATE_LEFT

log = structlog.get_logger()

_WARN_S = 14 * 86_400.0
_LONGEST_WAIT_S = 3_600.0
_SHORTEST_WAIT_S = 1.0


def signing_request(identity: Identity, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CSR (PEM). The signer decides what the certificate says; the request proves the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


class Papers:
    """A service's key and certificate, and the authority's certificate. Nothing of the key is ever printed."""

    def __init__(self, directory: Path, identity: Identity) -> None:
        self.identity = identity
        self._directory = directory
        self._own = directory / "service.pem"  # key and certificate in one file: they change together
        self._next = directory / "next.key"  # not certified yet, or the answer was lost
        self._authority = directory / "authority.pem"
        self._managers = directory / "managers"

    @property
    def exist(self) -> bool:
        return self._own.exists() and self._authority.exists()

    @property
    def valid(self) -> bool:
        """Whether there is a certificate that has not ended."""
        return self.exist and self.seconds_left() > 0

    @property
    def authority(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._authority.read_bytes())

    @property
    def managers(self) -> str:
        """Where the Managers were at enrolment, host:port with commas between; empty: they did not say."""
        return self._managers.read_text().strip() if self._managers.exists() else ""

    @managers.setter
    def managers(self, addresses: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._managers.write_text(addresses)

    def discard(self) -> None:
        """Forgets key and certificate."""
        self._own.unlink(missing_ok=True)

    @property
    def file(self) -> Path:
        """Key and certificate, PEM."""
        return self._own

    def load(self) -> tuple[bytes, bytes, bytes]:
        """Key, certificate and the authority's certificate, PEM."""
        text = self._own.read_bytes()
        at = text.index(b"-----BEGIN CERTIFICATE-----")
        return text[:at], text[at:], self._authority.read_bytes()

    def store(self, key: ec.EllipticCurvePrivateKey, certificate: bytes, authority: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._authority.write_bytes(authority)
        _write(self._own, _pem(key) + certificate)

    async def enrol(self, sign: Callable[[bytes], Awaitable[tuple[bytes, bytes]]], *, afresh: bool = True) -> None:
        """Has a key certified: `sign` takes a CSR and returns the two certificates.

        Afresh it is a new key; otherwise the present one, if there is one, which proves that we are who we were.
        A new key is kept before it is shown: when the answer is lost, the same one is shown again.
        """
        key = _key_of(self.load()[0]) if self._own.exists() and not afresh else self._next_key()
        self.store(key, *await sign(signing_request(self.identity, key)))
        self._next.unlink(missing_ok=True)

    def _next_key(self) -> ec.EllipticCurvePrivateKey:
        if self._next.exists():
            return _key_of(self._next.read_bytes())
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        _write(self._next, _pem(key))
        return key

    def seconds_left(self) -> float:
        certificate = x509.load_pem_x509_certificate(self.load()[1])
        return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()

    def _seconds_until_renewal(self) -> float:
        certificate = x509.load_pem_x509_certificate(self.load()[1])
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return (certificate.not_valid_before_utc + lifetime * 2 / 3 - datetime.now(UTC)).total_seconds()

    async def keep_fresh(
        self, sign: Callable[[bytes], Awaitable[tuple[bytes, bytes]]], renewed: Callable[[], None]
    ) -> None:
        """Renews when two thirds of the certificate's life are over, until cancelled. Metrics tell what is left."""
        CERTIFICATE_LEFT.labels(self.identity.kind).set_function(self.seconds_left)
        while True:
            wait = self._seconds_until_renewal()
            if wait > 0:
                await asyncio.sleep(min(max(wait, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
                continue
            try:
                await self.enrol(sign)
            except Exception as error:  # the link is down, or the Manager says no: the old one serves until its end
                left = self.seconds_left()
                level = log.error if left < _WARN_S else log.warning
                level("certificate could not be renewed", days_left=round(left / 86_400, 1), error=str(error)[:200])
                await asyncio.sleep(min(_LONGEST_WAIT_S, max(left / 20, _SHORTEST_WAIT_S)))
            else:
                log.info("certificate renewed", days_left=round(self.seconds_left() / 86_400, 1))
                renewed()


def _key_of(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # we have made it
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """All or nothing, and for its owner only."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.rename(path)
