"""Wrong settings and wrong machines: one line that says what to do, and a non-zero exit."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 60


def start(module: str, data: Path, **settings: str) -> tuple[int, list[str]]:
    """Exit code and standard error of a service that is expected not to start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
    environment |= {"TELETRUNK_TELEGRAM_API_ID": "1", "TELETRUNK_TELEGRAM_API_HASH": "0" * 32}
    environment |= {"TELETRUNK_DATA": str(data), **{f"TELETRUNK_{name}": value for name, value in settings.items()}}
    ended = subprocess.run(
        [sys.executable, "-m", module], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    return ended.returncode, lines


@pytest.mark.parametrize(
    ("module", "name", "value", "expected"),
    [
        ("teletrunk_manager", "MANAGER_ADDRESS", "nonsense", "must be host:port"),
        ("teletrunk_manager", "MANAGER_ADDRESS", "0.0.0.0:5050", "is not a loopback address"),
        ("teletrunk_manager", "CLUSTER_TOKEN", "changeme", "must be a random text"),
        ("teletrunk_manager", "LOG_FORMAT", "xml", "LOG_FORMAT"),
        ("teletrunk_manager", "DATA", "/proc/nowhere", "/proc/nowhere"),
        ("teletrunk_session_store", "VAULT_KEY", "tooshort", "VAULT_KEY"),
        ("teletrunk_worker", "SIP_ADDRESS", "5060", "must be host:port"),
        ("teletrunk_worker", "SAMPLE_RATE", "11025", "must be 8000 or 16000"),
        ("teletrunk_worker", "RTP_PORTS", "20000-20010", "too few ports"),
        ("teletrunk_worker", "RTP_PORTS", "9-1", "must be FIRST-LAST"),
        ("teletrunk_worker", "MAX_CALLS", "0", "1 or more"),
        ("teletrunk_worker", "PUBLIC_ADDRESS", "pbx.example", "PUBLIC_ADDRESS"),
        ("teletrunk_worker", "LOCAL_NETWORKS", "10.0.0.1/8", "LOCAL_NETWORKS"),
    ],
)
def test_a_wrong_setting(tmp_path: Path, module: str, name: str, value: str, expected: str) -> None:
    code, lines = start(module, tmp_path, **{name: value})
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("teletrunk ") and expected in lines[0]


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("teletrunk_manager", "MANAGER_ADDRESS", socket.SOCK_STREAM),
        ("teletrunk_session_store", "STORAGE_ADDRESS", socket.SOCK_STREAM),
        ("teletrunk_worker", "SIP_ADDRESS", socket.SOCK_STREAM),
        ("teletrunk_worker", "SIP_ADDRESS", socket.SOCK_DGRAM),
    ],
)
def test_a_port_in_use(tmp_path: Path, module: str, name: str, kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        code, lines = start(module, tmp_path, **{name: address})
    assert code == 2
    assert len(lines) == 1, lines
    assert address in lines[0] and "in use" in lines[0]


def test_a_vault_with_the_wrong_key(tmp_path: Path) -> None:
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (7, 8))
    taken = socket.create_server(("127.0.0.1", 0))  # the vault is opened before the port, which then ends the start
    with taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "in use" in start("teletrunk_session_store", tmp_path, VAULT_KEY=first, STORAGE_ADDRESS=address)[1][0]
        code, lines = start("teletrunk_session_store", tmp_path, VAULT_KEY=second, STORAGE_ADDRESS=address)
    assert code == 2
    assert len(lines) == 1 and "the vault was made with another key" in lines[0]
    assert second not in lines[0]


_BESIDE = """
import sys
from teletrunk import running
{patch}
try:
    running.check_host()
except running.ConfigurationError as error:
    sys.exit(f"teletrunk: {{error}}")
"""


def check_host_when(patch: str) -> tuple[int, str]:
    ended = subprocess.run([sys.executable, "-c", _BESIDE.format(patch=patch)], capture_output=True, text=True,
                           timeout=PATIENCE_S, check=False)  # fmt: skip
    return ended.returncode, ended.stderr


def test_pyrogram_beside_kurigram(tmp_path: Path) -> None:
    """A package directory as pip leaves it, on the path of a service."""
    (tmp_path / "Pyrogram-2.0.106.dist-info").mkdir()
    (tmp_path / "Pyrogram-2.0.106.dist-info" / "METADATA").write_text("Name: Pyrogram\nVersion: 2.0.106\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TELETRUNK_DATA": str(tmp_path / "data")}
    ended = subprocess.run([sys.executable, "-m", "teletrunk_manager"], env=environment, capture_output=True, text=True,
                           timeout=PATIENCE_S, check=False)  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "Pyrogram is installed beside kurigram" in ended.stderr


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("sys.version_info = (3, 13, 0, 'final', 0)", "Python 3.11 or 3.12 is needed"),
        ("running.PROCESSOR = __import__('pathlib').Path('{cpuinfo}')", "this processor lacks avx2"),
    ],
)
def test_a_machine_that_cannot_run_it(tmp_path: Path, patch: str, expected: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags : fpu sse4_2 avx\n")
    code, text = check_host_when(patch.replace("{cpuinfo}", str(cpuinfo)))
    assert code == 1
    assert text.count("\n") == 1 and expected in text
