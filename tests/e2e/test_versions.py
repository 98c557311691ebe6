"""One service of the version before, beside two of this one: an upgrade goes service by service."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from teletrunk_sandbox.demo import FRIEND, GATEWAY, to_sip, to_telegram
from teletrunk_sandbox.world import World

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
# Of the version before; `protos/released.binpb` is what it speaks. Both change with a release.
BEFORE = "aa6cc445479d2bcd33bd6e6e751be31e6c9d2c5e"
PARTS = ("common", "manager", "worker", "session_store")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """PYTHONPATH of the services as they were. Skips where the history is not there."""
    archived = subprocess.run(["git", "archive", BEFORE, "services"], cwd=ROOT, capture_output=True)
    if archived.returncode != 0:
        pytest.skip(f"this clone has no history back to {BEFORE[:7]}")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    path = ":".join(str(folder / "services" / part) for part in PARTS)
    tell = "import teletrunk_worker; print(teletrunk_worker.__file__)"
    told = subprocess.run([sys.executable, "-c", tell], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert told.stdout.decode().startswith(str(folder)), "it goes before what is installed"
    yield path


@pytest.mark.parametrize("old", ["worker", "session-store", "manager"])
async def test_calls_go_both_ways_beside_a_service_of_the_version_before(old: str, before: str, tmp_path: Path) -> None:
    async with World(tmp_path, {old: {"PYTHONPATH": before}}) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        phone = await world.phone(trunk)
        first, there = await to_telegram(world, phone, tmp_path)
        _, back = await to_sip(world, phone, tmp_path, besides=[first.call_id])
    log = (tmp_path / "data" / "logs" / "worker.log").read_text()
    assert '"host died"' not in log, "a host and its Worker may be of two versions"
    for heard in (there["heard_hz"], back["heard_hz"]):
        assert heard["sip"] == pytest.approx(620.0, abs=6) and heard["telegram"] == pytest.approx(440.0, abs=6)
