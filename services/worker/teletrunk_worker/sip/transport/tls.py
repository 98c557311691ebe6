"""Certificates for SIP over TLS: ours, which may be replaced on disk while we run, and whose we take."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class TlsFiles:
    """Paths of PEM files. `clients` names the authorities whose certificates PBXs must show; None: they need none.

    `servers` names those of the PBXs that we connect to; None: the machine's own list.
    """

    certificate: Path | None = None
    key: Path | None = None
    clients: Path | None = None
    servers: Path | None = None
    minimum: str = "1.2"


class Certificates:
    """The contexts of both directions. Raises OSError and `ssl.SSLError` for files that cannot be used."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if files.certificate else None
        self.client = ssl.create_default_context(cafile=None if files.servers is None else str(files.servers))
        self.unchecked = ssl.create_default_context()
        self.unchecked.check_hostname, self.unchecked.verify_mode = False, ssl.CERT_NONE
        for context in filter(None, (self.server, self.client, self.unchecked)):
            context.minimum_version = VERSIONS[files.minimum]
        if self.server is not None and files.clients is not None:
            self.server.load_verify_locations(str(files.clients))
            self.server.verify_mode = ssl.CERT_REQUIRED
        self._loaded_at: tuple[int, ...] = ()
        self.reload()

    def reload(self) -> bool:
        """Takes the certificate that lies there now, for the connections that come. Whether it was another one."""
        if self._files.certificate is None:
            return False
        paths = [path for path in (self._files.certificate, self._files.key) if path is not None]
        changed_at = tuple(path.stat().st_mtime_ns for path in paths)
        if changed_at == self._loaded_at:
            return False
        for context in filter(None, (self.server, self.client, self.unchecked)):
            context.load_cert_chain(*map(str, paths))
        self._loaded_at = changed_at
        return True
