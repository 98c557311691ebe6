"""The unit files: how exposed systemd finds them, that they agree with what the services do, and a call through them on
a machine that was set up as docs/operations/systemd.md says."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from teletrunk import running
from teletrunk.config import ServiceSettings, load
from teletrunk_worker.legs import priority

from tests.deploy.gateway import Gateway
from tests.deploy.podman import ROOT, TAG, TARGETS, build_images, output, podman

FOLDER = ROOT / "deploy" / "systemd"
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


def test_the_hosts_of_calls_may_go_before_others() -> None:
    assert _unit("worker")["LimitNICE"] == [str(priority.NICE)]


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


_TELEGRAM = "127.0.0.1:8443"
_MACHINE = "localhost/teletrunk-tests/machine:1"
_PAGE = (ROOT / "docs" / "operations" / "systemd.md").read_text()


def _blocks() -> Iterator[str]:
    """The page's commands, without those that put the programs there and the one that asks for a code."""
    for block in re.findall(r"^```\n(.*?)^```$", _PAGE, flags=re.MULTILINE | re.DOTALL):
        lines = block.splitlines()
        yield "\n".join(line for line in lines if not re.search(r"-m venv|bin/pip|account add", line))


class Machine(Gateway):
    """systemd as the first process of a container, with nothing but loopback."""

    def __init__(self) -> None:
        self.name = f"teletrunk-{secrets.token_hex(4)}"
        super().__init__(dict.fromkeys(TARGETS, self.name), {})
        output("run", "--detach", f"--name={self.name}", "--systemd=always", "--privileged", "--network=none",
               f"--volume={FOLDER}:/clone/deploy/systemd:ro", _MACHINE)  # fmt: skip

    def shell(self, script: str) -> str:
        return self.run("manager", "bash", "-ec", f"cd /clone; {script}")

    def state(self, service: str, name: str) -> str:
        return self.shell(f"systemctl show --property={name} --value teletrunk-{service}").strip()

    def logs(self) -> str:
        return podman("exec", self.name, "journalctl", "--no-pager", "--lines=60").stdout


@pytest.fixture
def machine() -> Iterator[Machine]:
    build_images()
    output("build", "--quiet", "--network=host", f"--build-arg=TAG={TAG}", f"--tag={_MACHINE}", "tests/deploy/machine")
    machine = Machine()
    try:
        machine.eventually("manager", "systemctl", "show", "--property=SystemState", says="SystemState=")
        yield machine
    finally:
        podman("rm", "--force", "--volumes", machine.name)


@pytest.mark.timeout(1800)  # the first build downloads and compiles
def test_a_call_through_what_systemd_starts(machine: Machine) -> None:
    install, start = _blocks()
    machine.shell(
        f"systemd-run --unit=sandbox --setenv=TELETRUNK_DATA=/data $(which teletrunk) sandbox --listen {_TELEGRAM}"
    )
    machine.telegram_is_up()
    machine.shell(install)
    folder = "/etc/teletrunk/secrets/session-store"
    machine.shell(f"chmod -R a+rX /data; head -c 32 /dev/urandom | base64 > {folder}/VAULT_KEY")
    machine.shell(f"echo TELETRUNK_TELEGRAM_SERVER={_TELEGRAM} >> /etc/teletrunk/session-store.env")
    machine.shell("echo TELETRUNK_TELEGRAM_RSA_KEY_FILE=/data/sandbox/rsa.pub.pem >> /etc/teletrunk/session-store.env")
    machine.shell(start)
    token = machine.shell("cat /etc/teletrunk/secrets/manager/CLUSTER_TOKEN").strip()
    machine.environment = {"TELETRUNK_DATA": "/var/lib/teletrunk/manager", "TELETRUNK_CLUSTER_TOKEN": token}
    machine.is_whole()
    assert "Signed in: Gateway" in machine.sign_in()
    machine.carries_a_call()
    for service in SERVICES:
        (user,) = _unit(service)["User"]
        assert machine.shell(f"stat -c %U /proc/{machine.state(service, 'MainPID')}").strip() == user
    machine.shell("systemctl restart teletrunk-worker teletrunk-session-store")
    machine.is_whole()
    machine.carries_a_call()
