"""The Compose files: settings that exist, secrets in files that `make-secrets` makes, and nothing that runs as root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import teletrunk
import yaml
from teletrunk.config import load
from teletrunk_manager.config import ManagerSettings
from teletrunk_session_store.config import StorageSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
OURS = {"compose.yaml": ("manager", "session-store", "worker"), "worker.yaml": ("worker",)}
_USER = 10_001


def _services() -> list[tuple[str, dict[str, Any]]]:
    files = {file: yaml.safe_load((FOLDER / file).read_text()) for file in OURS}
    return [(name, files[file]["services"][name]) for file, names in OURS.items() for name in names]


@pytest.mark.parametrize(("name", "service"), _services())
def test_a_service_has_no_rights_and_known_settings(name: str, service: dict[str, Any]) -> None:
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert f"/{name}:${{TELETRUNK_VERSION:-{teletrunk.__version__}}}" in service["image"]
    sources = "\n".join(path.read_text() for path in ROOT.glob("services/**/config.py"))
    for variable in service["environment"]:
        assert re.search(rf"^    {variable.removeprefix('TELETRUNK_').lower()}: ", sources, re.MULTILINE), variable


def test_a_worker_is_given_the_time_that_it_gives_its_calls() -> None:
    for name, service in _services():
        if name == "worker":
            assert service["stop_grace_period"] == "1h"
            assert 3000 < int(service["environment"]["TELETRUNK_DRAIN_SECONDS"]) < 3600


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What the script makes."""
    if os.getuid() != 0:
        pytest.skip("make-secrets gives files to the images' user: only root can")
    shutil.copy(FOLDER / "make-secrets", tmp_path)
    environment = {**os.environ, "TELETRUNK_TELEGRAM_API_ID": "17", "TELETRUNK_TELEGRAM_API_HASH": "f" * 32}
    for _ in range(2):  # the second keeps what the first has made
        subprocess.run([tmp_path / "make-secrets"], env=environment, check=True, timeout=30)
        made = {path: path.read_text() for path in tmp_path.rglob("TELETRUNK_*")}
    assert made == {path: path.read_text() for path in tmp_path.rglob("TELETRUNK_*")}
    return tmp_path / "secrets"


def test_secrets_are_each_services_own(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in secrets.glob("*/*"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (_USER, 0o600), path
    assert not (secrets / "worker" / "TELETRUNK_VAULT_KEY").exists()
    monkeypatch.setenv("TELETRUNK_SECRETS_DIR", str(secrets / "session-store"))
    storage = load(StorageSettings)
    storage.check()
    assert len(storage.key()) == 32
    monkeypatch.setenv("TELETRUNK_SECRETS_DIR", str(secrets / "manager"))
    manager = load(ManagerSettings)
    assert manager.token() == storage.token()
    assert (secrets / "POSTGRES_PASSWORD").read_text() in manager.url()
