"""The authority that operators bring along, and the one file that a second Manager needs."""

from __future__ import annotations

import contextlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.integration.joining import Cluster, ended, read
from tests.integration.test_fleet import LIFE_DAYS, Process, Site, command

PASSPHRASE = "one long walk by the sea"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def made(kind: str) -> Key:
    """As helm's genCA makes it (RSA of 2,048 bits), or cert-manager by choice."""
    return rsa.generate_private_key(65_537, 2_048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def mounted(directory: Path, key: Key, signs: Key | None = None, *, ca: bool = True, days: float = 30) -> None:
    """As a Secret of type kubernetes.io/tls is mounted."""
    directory.mkdir()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (directory / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.TraditionalOpenSSL
    private = (signs or key).private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / "tls.key").write_bytes(private)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
async def test_an_authority_out_of_a_mounted_secret_signs(kind: str, tmp_path: Path) -> None:
    mounted(tmp_path / "ca", made(kind))
    async with contextlib.AsyncExitStack() as exits:
        cluster = Cluster(tmp_path, exits, AUTHORITY=str(tmp_path / "ca"), CERTIFICATE_DAYS=str(LIFE_DAYS))
        cluster.authority = tmp_path / "ca" / "tls.crt"
        await cluster.start()
        await cluster.join_token("worker", 1)
        worker = await cluster.run(cluster.service("worker", "w1"))
        await cluster.manager.says("service attached")
        await worker.says("certificate renewed", 30)
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == ["tls.crt", "tls.key"], "it is only read"


async def test_an_authority_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    mounted(tmp_path / "other", made("ec"), made("ec"))
    mounted(tmp_path / "leaf", made("ec"), ca=False)
    mounted(tmp_path / "past", made("ec"), days=-1)
    (tmp_path / "file").write_text("")
    lines = {
        "other": "tls.key is not the key (EC or RSA) of tls.crt",
        "leaf": "tls.crt is no certificate authority's",
        "past": "tls.crt has ended",
        "file": "cannot be read",
    }
    for name, line in lines.items():
        manager = Process("teletrunk_manager", tmp_path / "data", TLS="true", MANAGER_ADDRESS="127.0.0.1:0",
                          AUTHORITY=str(tmp_path / name))  # fmt: skip
        await manager.start()
        assert line in (await manager.says("teletrunk manager:"))["event"], name
        assert await ended(manager) == 2
        await manager.stop()


async def test_what_a_second_manager_needs_goes_in_one_file(tmp_path: Path) -> None:
    phrase, file = tmp_path / "phrase", tmp_path / "moved"
    phrase.write_text(PASSPHRASE + "\n")
    first, second = tmp_path / "a" / "manager", tmp_path / "b" / "manager"
    given = ("--passphrase-file", str(phrase))
    code, said = await command(first, "authority", "export", str(file), *given)
    assert code == 0 and str(file) in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = (first / "secrets" / "manager.key").read_bytes()
    assert key not in file.read_bytes() and b"PRIVATE" not in file.read_bytes()
    assert await command(first, "authority", "export", str(file), *given) == (2, f"teletrunk: {file}: File exists\n")

    wrong = tmp_path / "wrong"
    wrong.write_text("one long walk by the lake")
    code, said = await command(second, "authority", "import", str(file), "--passphrase-file", str(wrong))
    assert (code, said) == (2, f"teletrunk: {file}: the passphrase is wrong, or the file was changed\n")
    code, said = await command(second, "authority", "import", str(phrase), *given)
    assert (code, said) == (2, f"teletrunk: {phrase} is no file of `teletrunk authority export`\n")
    assert not (second / "authority").exists()
    assert (await command(second, "authority", "import", str(file), *given))[0] == 0
    for name in ("authority/authority.pem", "authority/authority.key", "secrets/manager.key"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
        assert stat.S_IMODE((second / name).stat().st_mode) == 0o600
    code, said = await command(second, "authority", "import", str(file), *given)
    assert code == 2 and "authority.pem is there already" in said

    phrase.write_text("short")
    code, said = await command(first, "authority", "export", str(tmp_path / "x"), *given)
    assert code == 2 and "12 characters or more" in said

    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path / "b", exits)
        await site.start()
        assert read(await site.invitation("worker"))["authority"] == (first / "authority/authority.pem").read_text()
