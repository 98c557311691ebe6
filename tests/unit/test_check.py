"""Settings by file, and `teletrunk check`: where each setting came from, what nobody reads, what stands in the way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from teletrunk.cli.main import app
from teletrunk.config import ConfigurationError, ServiceSettings, load
from teletrunk_worker.config import WorkerSettings
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"DATA": str(tmp_path / "data"), "TELEGRAM_SERVER": "127.0.0.1:1", "SIP_ADDRESS": "127.0.0.1:0"}
    for name in ("MANAGER_ADDRESS", "STORAGE_ADDRESS"):
        settings[name] = "127.0.0.1:0"
    for name, value in settings.items():
        monkeypatch.setenv(f"TELETRUNK_{name}", value)


def check() -> tuple[int, dict[str, tuple[str, str]], list[str]]:
    result = CliRunner().invoke(app, ["check", "--json"])
    told: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, {s["name"]: (s["value"], s["from"]) for s in told["settings"]}, told["wrong"]


def written(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    path.write_text(text)
    monkeypatch.setenv("TELETRUNK_CONFIG", str(path))
    return path


def test_a_file_of_settings_counts_where_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'TELETRUNK_MAX_CALLS = 7\nlog_level = "DEBUG"\ndigest_algorithms = ["MD5"]\nallow_registration = false\n'
    file = written(tmp_path / "teletrunk.toml", text, monkeypatch)
    monkeypatch.setenv("TELETRUNK_LOG_LEVEL", "ERROR")
    settings = load(WorkerSettings)
    assert (settings.max_calls, settings.log_level, settings.digest_algorithms) == (7, "ERROR", "MD5")
    assert not settings.allow_registration
    _, shown, _ = check()
    assert shown["TELETRUNK_MAX_CALLS"] == ("7", str(file))
    assert shown["TELETRUNK_LOG_LEVEL"] == ("ERROR", "environment")
    assert shown["TELETRUNK_SAMPLE_RATE"] == ("8000", "default")


@pytest.mark.parametrize("text", ["max_calls = ", "max_calls = { a = 1 }"])
def test_a_file_that_is_no_such_file_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "teletrunk.toml", text, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"TELETRUNK_CONFIG: .*teletrunk\.toml") as caught:
        load(WorkerSettings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MAX_CALLS", "abc", "must be a whole number, not 'abc'"),
        ("MAX_CALLS", "0", "must be 1 or more, not '0'"),
        ("LOG_LEVEL", "loud", "must be one of DEBUG, INFO, WARNING, ERROR, not 'loud'"),
        ("ALLOW_REGISTRATION", "perhaps", "must be true or false, not 'perhaps'"),
        ("CLUSTER_TOKEN", "short", "must be a random text of 16 characters or more, not a sample"),
    ],
)
def test_wrong_values_are_told_in_plain_words(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TELETRUNK_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load(WorkerSettings)
    assert str(caught.value) == f"TELETRUNK_{name}: {words}"
    status, _, wrong = check()
    assert status == 1 and str(caught.value) in wrong


def test_a_name_that_nothing_reads_is_named_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELETRUNK_MAX_CALS", "3")
    status, _, wrong = check()
    assert status == 1
    assert "TELETRUNK_MAX_CALS (environment) is no setting: did you mean TELETRUNK_MAX_CALLS?" in wrong


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELETRUNK_CLUSTER_TOKEN", "canary" * 4)
    monkeypatch.setenv("TELETRUNK_DATABASE_URL", "postgresql+asyncpg://me:canary@127.0.0.1:1/x")
    monkeypatch.setenv("TELETRUNK_VAULT_URL", "postgresql+asyncpg://me:canary@127.0.0.1:1/x")
    result = CliRunner().invoke(app, ["check"])
    assert "canary" not in result.stdout
    assert "(hidden)" in result.stdout
    assert "the Manager's database" in result.stdout.partition("WRONG")[2]


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("TELETRUNK_STORAGE_ADDRESS", address)
        status, _, wrong = check()
    assert status == 1
    assert any(text.startswith(f"TELETRUNK_STORAGE_ADDRESS: tcp {address} is in use") for text in wrong)


def test_what_pbxs_will_be_told_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PUBLIC_ADDRESS", "192.168.7.9"), ("LOCAL_NETWORKS", "10.0.0.0/8,192.168.0.0/16")):
        monkeypatch.setenv(f"TELETRUNK_{name}", value)
    good = json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)["good"]
    assert (
        "PBXs are told 192.168.7.9, and 192.168.7.9 for sound; those in 10.0.0.0/8 are told this machine's own address"
        in good
    )


def test_it_makes_nothing(tmp_path: Path) -> None:
    check()
    assert not (tmp_path / "data").exists()
    assert load(ServiceSettings).data == tmp_path / "data"


_NO_FILE = "/nowhere/certificate.pem"


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ("worker", {"RTP_PORTS": "20000-20031", "MAX_CALLS": "20"}),
        ("worker", {"SIP_TLS_ADDRESS": "127.0.0.1:0"}),
        ("worker", {"SIP_TLS_ADDRESS": "127.0.0.1:0", "SIP_TLS_CERTIFICATE": _NO_FILE}),
        ("manager", {"API_ADDRESS": "0.0.0.0:0"}),
        ("manager", {"API_ADDRESS": "0.0.0.0:0", "API_CERTIFICATE": _NO_FILE, "API_KEY": _NO_FILE}),
        ("manager", {"MANAGER_ADDRESS": "0.0.0.0:0"}),
        ("session_store", {"STORAGE_ADDRESS": "0.0.0.0:0", "TELEGRAM_API_ID": "1", "TELEGRAM_API_HASH": "ab" * 16}),
    ],
)
def test_what_a_service_would_refuse_is_wrong_before(
    service: str, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service's own words, for there is one rule."""
    if service == "session_store":
        monkeypatch.delenv("TELETRUNK_TELEGRAM_SERVER")
    for name, value in settings.items():
        monkeypatch.setenv(f"TELETRUNK_{name}", value)
    status, _, wrong = check()
    command = [sys.executable, "-m", f"teletrunk_{service}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    line = said.stderr.strip().splitlines()[-1]
    assert (status, said.returncode) == (1, 2), line
    assert any(line.endswith(text) for text in wrong), (line, wrong)
