"""A Python client that a generator makes of our OpenAPI description works, against a real Manager."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.rest_world import rest_api

_PINS = Path(__file__).parent / "client-generator.txt"
_CACHE = Path(os.environ.get("TELETRUNK_CACHE", Path.home() / ".cache" / "teletrunk"))
_DEADLINE_S = 300

pytestmark = pytest.mark.timeout(600)

# What somebody would write who has only the description.
_USE = """
    import sys
    from teletrunk_client import AuthenticatedClient
    from teletrunk_client.api.trunks import add_trunk, get_trunk, list_trunks
    from teletrunk_client.models import AddTrunkRequest, Problem, SrtpPolicy, TrunkOptionsGiven

    with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2]) as client:
        assert list_trunks.sync(client=client).trunks == []
        options = TrunkOptionsGiven(srtp=SrtpPolicy.SRTP_POLICY_OPTIONAL, transports=["tls"])
        added = add_trunk.sync(client=client, body=AddTrunkRequest(account="@ann", login="office", options=options))
        assert added.password and added.trunk.login == "office"
        (listed,) = list_trunks.sync(client=client).trunks
        assert listed.trunk_id == added.trunk.trunk_id and listed.options.transports == ["tls"]
        assert listed.options.srtp is SrtpPolicy.SRTP_POLICY_OPTIONAL
        problem = get_trunk.sync("nobody", client=client)
        assert isinstance(problem, Problem) and problem.status == 404 and "there is no trunk" in problem.detail
"""


@pytest.fixture(scope="session")
def generator() -> Path:
    """The Python of an environment with the generator, apart from ours, and kept: by what is pinned."""
    directory = _CACHE / f"client-generator-{hashlib.sha256(_PINS.read_bytes()).hexdigest()[:12]}"
    python = directory / "bin" / "python"
    if not (directory / "ready").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True, timeout=_DEADLINE_S)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--python", python, "install", "--require-hashes", "--requirement", _PINS],
            capture_output=True, text=True, timeout=_DEADLINE_S, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"the generator cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        (directory / "ready").touch()
    return python


async def _run(*command: str | Path, cwd: Path) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"  # the generator calls its ruff
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PATH": path}
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _DEADLINE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, out.decode()[-4_000:]


async def test_a_generated_client_lists_and_adds_trunks(generator: Path, tmp_path: Path) -> None:
    async with rest_api(tmp_path / "data") as api:
        await api.world.add_account()
        await _run(
            generator, "-m", "openapi_python_client", "generate", "--url", f"{api.url}/openapi.json",
            "--output-path", tmp_path / "teletrunk_client", "--meta", "none", "--fail-on-warning",
            cwd=tmp_path,
        )  # fmt: skip
        await _run(generator, "-c", textwrap.dedent(_USE), api.url, api.tokens["root"], cwd=tmp_path)
