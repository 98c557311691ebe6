"""What a service shows at the Manager's front door: an invitation's text, or files that a chart mounts."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from teletrunk.config import ConfigurationError, ServiceSettings


class NotYet(Exception):
    """Why it does not work now, and may later."""


@dataclass(frozen=True)
class Ticket:
    """`source` is the setting that it came by. A reusable one is a join token or an account's token."""

    source: str
    addresses: tuple[str, ...]
    secret: str = field(repr=False)
    authority: bytes
    reusable: bool


def ticket_of(settings: ServiceSettings, kind: str) -> Ticket | None:
    """Read anew at each attempt: the kubelet changes what it has mounted. None when nothing was given.

    Raises `ConfigurationError` and `NotYet`.
    """
    if settings.invitation is not None and settings.join_token_file is not None:
        raise ConfigurationError("give one of TELETRUNK_INVITATION and TELETRUNK_JOIN_TOKEN_FILE")
    if settings.invitation is not None:
        return _invited(settings.invitation.get_secret_value(), kind)
    if settings.join_token_file is None:
        return None
    if settings.authority_file is None:
        raise ConfigurationError(
            "TELETRUNK_AUTHORITY_FILE: set it together with TELETRUNK_JOIN_TOKEN_FILE: the certificate (PEM) of the "
            "Manager's authority"
        )
    secret = _content(settings.join_token_file, "TELETRUNK_JOIN_TOKEN_FILE").strip()
    authority = _content(settings.authority_file, "TELETRUNK_AUTHORITY_FILE")
    if not secret.isascii():
        raise ConfigurationError(f"TELETRUNK_JOIN_TOKEN_FILE: {settings.join_token_file} holds no token")
    if not _certificates(authority):
        raise ConfigurationError(f"TELETRUNK_AUTHORITY_FILE: {settings.authority_file} holds no certificate (PEM)")
    addresses = settings.join_address or ",".join(_next_port(each) for each in settings.manager_address.split(","))
    source = "TELETRUNK_JOIN_TOKEN_FILE"
    return Ticket(source, tuple(addresses.split(",")), secret.decode(), authority, reusable=True)


def _invited(invitation: str, kind: str) -> Ticket:
    try:
        given = json.loads(base64.urlsafe_b64decode(invitation.strip()))
        known = {name: str(given[name]) for name in ("kind", "address", "secret", "authority")}
        reusable = bool(given.get("reusable", False))  # older invitations do not say
        if not _certificates(known["authority"].encode()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"TELETRUNK_INVITATION: cannot be read: copy all that `teletrunk {kind} invite` has printed"
        ) from None
    if known["kind"] != kind:
        raise ConfigurationError(f"TELETRUNK_INVITATION: it is for a {known['kind']}")
    return Ticket("TELETRUNK_INVITATION", (known["address"],), known["secret"], known["authority"].encode(), reusable)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _content(path: Path, setting: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotYet(f"{setting}: {path} is not there yet") from None
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {error.strerror}") from None
    if not content.strip():
        raise NotYet(f"{setting}: {path} is empty")
    return content


def _next_port(address: str) -> str:
    """Where a Manager enrols when it was told nothing else."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"
