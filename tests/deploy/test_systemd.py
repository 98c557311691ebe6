"""The unit files: how exposed systemd finds them, and that they agree with what the services do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from teletrunk import running
from teletrunk.config import ServiceSettings, load

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = ("manager", "session-store", "worker")
_MOST_EXPOSED = 15  # tenths of systemd's points; an unprotected service has 96


def _unit(service: str) -> dict[str, list[str]]:
    """The [Service] section; a key may come more than once."""
    found: dict[str, list[str]] = {}
    section = (FOLDER / f"teletrunk-{service}.service").read_text().partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("service", SERVICES)
def test_little_is_exposed(service: str) -> None:
    unit = FOLDER / f"teletrunk-{service}.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={_MOST_EXPOSED}", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_a_drained_worker_stays_away_and_its_hosts_get_no_signal() -> None:
    unit = _unit("worker")
    assert unit["RestartPreventExitStatus"] == unit["SuccessExitStatus"] == [str(running.DRAINED)]
    assert unit["KillMode"] == ["mixed"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_its_own_user_and_folders(service: str) -> None:
    unit = _unit(service)
    (user,) = unit["User"]
    assert f"u {user} " in (FOLDER / "teletrunk.sysusers.conf").read_text()
    (credentials,) = unit["LoadCredential"]
    assert (
        f"d {credentials.removeprefix('TELETRUNK:')} 0700 root root" in (FOLDER / "teletrunk.tmpfiles.conf").read_text()
    )
    assert all(user not in other for name in SERVICES if name != service for other in _unit(name)["User"])


@pytest.mark.parametrize("service", SERVICES)
def test_the_sample_of_settings_holds_no_secret_and_is_understood(service: str) -> None:
    text = (FOLDER / f"{service}.env").read_text()
    names = re.findall(r"^#?(TELETRUNK_[A-Z_]+)=", text, flags=re.MULTILINE)
    assert names
    assert not [name for name in names if re.search(r"TOKEN|KEY|HASH|SECRET|PASSWORD|DATABASE_URL|INVITATION", name)]
    sources = "\n".join(path.read_text() for path in FOLDER.parents[1].glob("services/*/*/config.py"))
    for name in names:
        assert re.search(rf"^    {name.removeprefix('TELETRUNK_').lower()}: ", sources, re.MULTILINE), name


def test_credentials_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd names a file F of a folder that is loaded as TELETRUNK: TELETRUNK_F."""
    (tmp_path / "TELETRUNK_CLUSTER_TOKEN").write_text("a-word-that-nobody-guesses\n")
    monkeypatch.setenv("TELETRUNK_SECRETS_DIR", str(tmp_path))
    assert load(ServiceSettings).token() == "a-word-that-nobody-guesses"
