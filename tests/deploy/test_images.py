"""The container images: what is in them, what is not, and that they run as an orchestrator runs them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
import teletrunk

from tests.deploy.podman import BASE, ROOT, TAG, TARGETS, build_images, image, output, podman

pytestmark = pytest.mark.timeout(1800)  # the first build downloads and compiles
_MB = 1_000_000
_SIZES_MB = {"manager": 120, "worker": 250, "session-store": 120, "sandbox": 250}  # beyond the base image
_PAGE = (ROOT / "docs" / "operations" / "images.md").read_text()
_SLACK_MB = 3  # of what the page says: our own modules grow
_PACKAGES = {
    "manager": "teletrunk_manager",
    "worker": "teletrunk_worker",
    "session-store": "teletrunk_session_store",
    "sandbox": "teletrunk_sandbox",
}
# As a careful orchestrator does: nothing may be written but /data and /tmp, no rights, no network.
_CAREFUL = (
    "--rm",
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--network=none",
)
_PATIENCE_S = 120.0


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    build_images()


def run(target: str, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The image's own entry point with these arguments: exit code, standard output and error."""
    settings = [f"--env={name}={value}" for name, value in (environment or {}).items()]
    done = podman("run", *_CAREFUL, *settings, image(target), *arguments)
    return done.returncode, done.stdout, done.stderr


def python(target: str, code: str) -> str:
    return output("run", *_CAREFUL, "--entrypoint=python", image(target), "-c", code)


@pytest.mark.parametrize("target", _SIZES_MB)
def test_size(target: str) -> None:
    size, base = (int(output("image", "inspect", "--format={{.Size}}", name)) for name in (image(target), BASE))
    print(f"{target}: {(size - base) / _MB:.0f} MB beyond the base")
    assert (size - base) / _MB < _SIZES_MB[target]
    said = re.search(rf"^\| `{target}` \|.* (\d+) MB \|$", _PAGE, re.MULTILINE)
    assert said is not None and int(said[1]) == pytest.approx((size - base) / _MB, abs=_SLACK_MB)


@pytest.mark.parametrize("target", TARGETS)
def test_runs_as_nobody_in_particular_and_writes_only_where_it_may(target: str) -> None:
    attempt = """
import os, pathlib
print(os.getuid(), os.getgid())
for folder in ("/data", "/tmp", "/", "/opt/teletrunk", "/usr/share/teletrunk", "/var/tmp"):
    try:
        pathlib.Path(folder, "x").write_text("x")
        print(folder)
    except OSError:
        pass
"""
    assert python(target, attempt).splitlines() == ["10001 10001", "/data", "/tmp"]


@pytest.mark.parametrize("target", TARGETS)
def test_holds_one_service_and_nothing_to_build_with(target: str) -> None:
    look = f"""
import importlib.util, shutil
print(*(name for name in {sorted(_PACKAGES.values())!r} if importlib.util.find_spec(name)))
print(*(name for name in ("gcc", "cc", "c++", "make", "ld", "as", "git", "curl") if shutil.which(name)))
print(*(name for name in ("pip", "setuptools") if importlib.util.find_spec(name)))
"""
    assert python(target, look).splitlines() == [_PACKAGES[target]]


@pytest.mark.parametrize("target", TARGETS)
def test_the_bill_of_materials_names_what_is_installed(target: str) -> None:
    listed = (
        "from importlib import metadata as m, util as u; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    )
    installed = set(python(target, listed).split())
    bill = json.loads(output("run", *_CAREFUL, "--entrypoint=cat", image(target), "/usr/share/teletrunk/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert {f"{part['name']}=={part['version']}" for part in bill["components"]} == installed
    assert f"teletrunk=={teletrunk.__version__}" in installed


@pytest.mark.parametrize("target", TARGETS)
def test_says_its_version_and_carries_labels(target: str) -> None:
    assert run(target, "--version") == (0, f"{teletrunk.__version__}\n", "")
    labels = json.loads(output("image", "inspect", "--format={{json .Labels}}", image(target)))
    assert labels["org.opencontainers.image.version"] == TAG
    assert labels["org.opencontainers.image.licenses"] == "GPL-3.0-or-later"
    assert len(labels["org.opencontainers.image.revision"]) == 40


@pytest.mark.parametrize(
    ("target", "arguments", "environment", "says"),
    [
        ("manager", [], {"TELETRUNK_MANAGER_ADDRESS": "0.0.0.0:5050"}, "without certificates services stay on one"),
        ("manager", ["worker"], {}, "teletrunk_worker is not part of this installation"),
        ("worker", [], {"TELETRUNK_PUBLIC_ADDRESS": "pbx.example"}, "TELETRUNK_PUBLIC_ADDRESS"),
        ("session-store", [], {}, "TELETRUNK_TELEGRAM_API_ID and TELETRUNK_TELEGRAM_API_HASH: get them at"),
        ("sandbox", ["sandbox", "--listen", "8443"], {}, "--listen: must be host:port"),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_one_line(
    target: str, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    code, out, errors = run(target, *arguments, environment=environment)
    assert (code, out, errors.count("\n")) == (2, "", 1), errors
    assert errors.startswith("teletrunk") and says in errors


@pytest.fixture
def manager() -> Iterator[str]:
    careful = [option for option in _CAREFUL if option != "--rm"]  # its end is looked at
    container = output("run", "--detach", *careful, image("manager"))
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while podman("exec", container, "teletrunk", "worker", "list").returncode != 0:
            assert time.monotonic() < deadline, podman("logs", container).stderr
            time.sleep(0.2)
        yield container
    finally:
        podman("rm", "--force", "--volumes", container)


def test_process_one_reaps_and_hands_the_end_on(manager: str) -> None:
    assert output("exec", manager, "cat", "/proc/1/comm") == "tini"
    # A child whose parent is gone is process 1's; it ends while nobody waits for it.
    output("exec", manager, "sh", "-c", "(sleep 0.2 & echo $! >/tmp/orphan)")
    deadline = time.monotonic() + _PATIENCE_S
    while podman("exec", manager, "sh", "-c", "test -e /proc/$(cat /tmp/orphan)").returncode == 0:
        assert time.monotonic() < deadline, "the orphan was not reaped"
        time.sleep(0.1)
    output("kill", "--signal=TERM", manager)
    assert output("wait", manager) == "0"  # the Manager's own orderly end, handed out by process 1


def test_the_command_works_in_the_managers_image(manager: str) -> None:
    assert "schema" in output("exec", manager, "teletrunk", "db", "upgrade")
    refused = podman("exec", manager, "teletrunk", "account", "add", "12")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "is not a phone number" in refused.stderr


def test_the_manager_is_backed_up_where_no_other_service_is(manager: str) -> None:
    output("exec", manager, "sh", "-c", "umask 077; echo correct horse battery staple > /tmp/passphrase")
    backup = ("exec", manager, "teletrunk", "backup", "/tmp/now", "--passphrase-file=/tmp/passphrase")
    assert "  manager: schema " in output(*backup, "--only=manager")
    refused = podman(*backup)
    assert "teletrunk_session_store is not part of this installation: name by --only" in refused.stderr
    restored = output("exec", "--env=TELETRUNK_DATA=/data/new", manager, "teletrunk", "restore", *backup[4:])
    assert "Restored: manager" in restored
