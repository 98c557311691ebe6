"""What `pipx install .` does: a wheel of this clone, in an environment that has nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import teletrunk

ROOT = Path(__file__).parents[2]
_EXTRAS = "manager,session-store,worker"
_DEADLINE_S = 600

pytestmark = pytest.mark.timeout(900)


def run(*command: str | Path, data: Path) -> str:
    environment = {**os.environ, "TELETRUNK_DATA": str(data)}
    done = subprocess.run(
        command, cwd=data, env=environment, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_of_the_clone_runs(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, data=tmp_path)
    (wheel,) = tmp_path.glob("teletrunk-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", data=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    # The versions that are tested: others are the index's affair.
    run(*pip, "--python", binaries / "python", "install", "--constraint", ROOT / "requirements.lock",
        f"{wheel}[{_EXTRAS}]", data=tmp_path)  # fmt: skip
    assert run(binaries / "teletrunk", "--version", data=tmp_path) == f"{teletrunk.__version__}\n"
    assert "schema" in run(binaries / "teletrunk", "db", "upgrade", data=tmp_path)
    look = "import teletrunk_worker.legs.sip_host, teletrunk_session_store.telegram.clients as c; print(c.__file__)"
    assert str(tmp_path) in run(binaries / "python", "-c", look, data=tmp_path)
