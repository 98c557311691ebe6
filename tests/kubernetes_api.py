"""A cluster's API server as far as TokenReview goes (authentication.k8s.io/v1), over TLS, with an authority of its own.

It knows tokens as the real one does: by who they are of, for which audiences, and whether they have ended.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


@dataclass
class _Token:
    user: str
    audiences: list[str]


@dataclass
class KubernetesApi:
    """`credentials` is what the kubelet mounts into the Manager's Pod."""

    directory: Path
    tokens: dict[str, _Token] = field(default_factory=dict)
    slow: bool = False
    denies: bool = False
    reviews: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def credentials(self) -> Path:
        return self.directory / "serviceaccount"

    async def start(self, port: int = 0) -> None:
        self.credentials.mkdir(parents=True, exist_ok=True)
        self._own = secrets.token_urlsafe(24)
        (self.credentials / "token").write_text(self._own)
        _certify(self.directory / "server.pem", self.credentials / "ca.crt")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "server.pem")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await asyncio.sleep(0)

    def token(self, account: str, *audiences: str) -> str:
        """As the kubelet projects it: a JWT, whose claims only the API server is to believe."""
        parts = ({"alg": "RS256"}, {"sub": account, "aud": audiences})
        text = ".".join([*(_encoded(json.dumps(part).encode()) for part in parts), _encoded(secrets.token_bytes(64))])
        self.tokens[text] = _Token(account, list(audiences))
        return text

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.reviews += 1
            if self.slow:
                await asyncio.sleep(3_600)
            status, answer = self._answer(lines[0], headers, body)
            said = json.dumps(answer).encode()
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n".encode())
            writer.write(f"Content-Length: {len(said)}\r\nConnection: close\r\n\r\n".encode() + said)
            await writer.drain()
        finally:
            writer.close()

    def _answer(self, line: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        assert line.split()[:2] == ["POST", PATH] and body["kind"] == "TokenReview"
        assert body["apiVersion"] == "authentication.k8s.io/v1"
        if headers.get("authorization") != f"Bearer {self._own}":
            return "401 Unauthorized", {"kind": "Status", "status": "Failure", "code": 401}
        if self.denies:
            return "403 Forbidden", {"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden"}
        return "201 Created", {**body, "status": self._review(body["spec"])}

    def _review(self, spec: dict[str, Any]) -> dict[str, Any]:
        """As the real one: the audiences are those that were asked for and that the token has."""
        known = self.tokens.get(spec["token"])
        both = [audience for audience in spec["audiences"] if known and audience in known.audiences]
        if known is None or not both:
            return {"user": {}, "error": "[invalid bearer token, token audiences do not match]"}
        user = {"username": known.user, "uid": "0", "groups": ["system:serviceaccounts", "system:authenticated"]}
        return {"authenticated": True, "user": user, "audiences": both}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _certify(server: Path, authority: Path) -> None:
    """A certificate for 127.0.0.1, and its authority's."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in "12")
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    builder = x509.CertificateBuilder().not_valid_before(datetime.now(UTC) - timedelta(minutes=5))
    builder = builder.not_valid_after(datetime.now(UTC) + timedelta(days=1)).issuer_name(ca_name)
    ca = builder.subject_name(ca_name).public_key(ca_key.public_key()).serial_number(1)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    own = builder.subject_name(name).public_key(key.public_key()).serial_number(2).add_extension(host, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    server.write_bytes(private + own.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    authority.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
