"""The Compose files: settings that exist, secrets in files that `make-secrets` makes, nothing that runs as root; and a
call through what podman-compose makes of them."""

from __future__ import annotations

import os
import re
import secrets as randomness
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import teletrunk
import yaml
from teletrunk.config import load
from teletrunk_manager.config import ManagerSettings
from teletrunk_session_store.config import StorageSettings

from tests.deploy.gateway import Gateway
from tests.deploy.podman import TAG, WITH_SETTINGS, build_images, output

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
OURS = {
    "compose.yaml": ("manager", "session-store", "worker"),
    "worker.yaml": ("worker",),
    "sandbox.yaml": ("sandbox",),
}
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
    for variable in service.get("environment", ()):
        assert re.search(rf"^    {variable.removeprefix('TELETRUNK_').lower()}: ", sources, re.MULTILINE), variable


def test_services_are_given_the_time_that_they_give_their_calls() -> None:
    given = {"worker": ("1h", 3600), "session-store": ("11m", 660)}
    for name, service in _services():
        if name in given:
            text, seconds = given[name]
            assert service["stop_grace_period"] == text
            assert seconds - 120 < int(service["environment"]["TELETRUNK_DRAIN_SECONDS"]) < seconds


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


_SERVERS = "localhost/teletrunk-tests/servers:1"
_COMPOSE_S = 300


class Composed:
    """The files on a network of their own, as on a host where nothing else listens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._project = f"teletrunk-{randomness.token_hex(4)}"
        holder = "ip link set lo up && echo up && exec sleep infinity"
        self._host = subprocess.Popen(["unshare", "--net", "sh", "-c", holder], stdout=subprocess.PIPE)
        assert self._host.stdout is not None and self._host.stdout.readline() == b"up\n"
        names = ("manager", "session-store", "worker", "sandbox")
        self._inside = ["nsenter", f"--target={self._host.pid}", "--net"]
        self.gateway = Gateway({name: f"{self._project}_{name}_1" for name in names}, inside=self._inside)

    def compose(self, *arguments: str) -> None:
        # The program, not the module: it looks for its own name.
        program = str(Path(sys.executable).parent / "podman-compose")
        files = [f"--file={self._folder / name}" for name in ("compose.yaml", "sandbox.yaml")]
        settings = {"TELETRUNK_VERSION": TAG, "POSTGRES_IMAGE": _SERVERS, "REDIS_IMAGE": _SERVERS}
        done = subprocess.run(
            [*self._inside, *WITH_SETTINGS, program, f"--project-name={self._project}", *files, *arguments],
            cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=_COMPOSE_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.gateway.logs()}"

    def close(self) -> None:
        try:
            self.compose("down", "--volumes")
        finally:
            self._host.kill()
            self._host.wait()


@pytest.fixture
def composed(secrets: Path) -> Iterator[Composed]:
    build_images()
    output("build", "--quiet", "--network=host", f"--tag={_SERVERS}", "tests/deploy/servers")
    for file in FOLDER.glob("*.yaml"):
        shutil.copy(file, secrets.parent)
    composed = Composed(secrets.parent)
    try:
        yield composed
    finally:
        composed.close()


@pytest.mark.timeout(1800)  # the first build downloads and compiles
def test_a_call_through_what_compose_starts(composed: Composed) -> None:
    composed.compose("up", "--detach")
    gateway = composed.gateway
    gateway.telegram_is_up()
    gateway.is_whole()
    assert "Signed in: Gateway" in gateway.sign_in()
    gateway.carries_a_call()
    composed.compose("restart", "session-store", "worker")  # their volumes keep who they are
    gateway.is_whole()
    gateway.carries_a_call()
