"""The Manager's own certificate authority, or one that the operator gives it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from teletrunk.config import ConfigurationError
from teletrunk.identity import Identity

_AUTHORITY_YEARS = 20
_CLOCK_SKEW = timedelta(minutes=5)


# The authority's own two files, and the same two in a mounted Secret of type kubernetes.io/tls.
_PAIRS = (("authority.pem", "authority.key"), ("tls.crt", "tls.key"))
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certified:
    """A certificate (PEM) with its end (Unix time) and the SHA-256 of its public key."""

    pem: bytes
    key_fingerprint: str
    until: float


class Authority:
    """Signs what services ask for. The key stays in this process and its file."""

    def __init__(self, certificate: x509.Certificate, key: _Key, days: float) -> None:
        self._certificate = certificate
        self._key = key
        self._days = days

    @classmethod
    def open(cls, directory: Path, days: float) -> Authority:
        """Reads `authority.pem` and `authority.key` there, or `tls.crt` and `tls.key`; makes the former when there is
        neither pair. Elliptic-curve and RSA keys serve. Raises `ConfigurationError`."""
        certificate_file, key_file = files(directory)
        names = f"{certificate_file.name} and {key_file.name}"
        try:
            if not certificate_file.exists() and not key_file.exists():
                _make(directory, certificate_file, key_file)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(f"{directory}: {names} cannot be read: {error}") from None
        if not isinstance(key, _Key) or key.public_key() != certificate.public_key():
            raise ConfigurationError(
                f"{directory}: {key_file.name} is not the key (EC or RSA) of {certificate_file.name}"
            )
        if not _is_authority(certificate):
            raise ConfigurationError(f"{directory}: {certificate_file.name} is no certificate authority's (CA:TRUE)")
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise ConfigurationError(f"{directory}: {certificate_file.name} has ended: put one that is valid there")
        return cls(certificate, key, days)

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def certify(self, request_pem: bytes, identity: Identity) -> Certified:
        """As `sign`, with what the Manager keeps of it."""
        pem = self.sign(request_pem, identity)
        certificate = x509.load_pem_x509_certificate(pem)
        public = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        until = certificate.not_valid_after_utc.timestamp()
        return Certified(pem, hashlib.sha256(public).hexdigest(), until)

    def sign(self, request_pem: bytes, identity: Identity) -> bytes:
        """A certificate (PEM) for the request's key and this identity. Raises ValueError for a bad request."""
        request = x509.load_pem_x509_csr(request_pem)
        if not request.is_signature_valid:
            raise ValueError("the request's signature is wrong")
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.id)]))
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW if self._days >= 1 else now)
            .not_valid_after(now + timedelta(days=self._days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.server_name)]
                ),
                critical=False,
            )
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def files(directory: Path) -> tuple[Path, Path]:
    """The authority's certificate and key: the pair that is there, or the one that would be made."""
    pairs = [(directory / certificate, directory / key) for certificate, key in _PAIRS]
    return next((pair for pair in pairs if pair[0].exists() or pair[1].exists()), pairs[0])


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _make(directory: Path, certificate_file: Path, key_file: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Teletrunk authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=365 * _AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
