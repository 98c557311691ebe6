"""Backup and restore in a cluster, as docs/operations/backup.md has an operator type it.

Each `kubectl exec` is run here, with the environment and the files that the chart gives that container; the databases
are SQLite's, and no cluster is asked.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from teletrunk_manager.authority import Authority
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Subscription
from teletrunk_session_store.vault.adoption import RESTORED
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

from tests.deploy import chart
from tests.deploy.backup_page import documented, in_pods
from tests.deploy.chart import CI, Manifest, containers_of, pods, render

KEY = bytes(range(32))
PASSPHRASE = "correct horse battery staple"
DEADLINE_S = 120
POD_OF = {  # the release is called t, and not teletrunk
    "deploy/teletrunk-manager": "Deployment/t-teletrunk-manager",
    "teletrunk-storage-0": "StatefulSet/t-teletrunk-storage",
    "teletrunk-maintenance": "Pod/t-teletrunk-maintenance",
}


def shell(command: str, desk: Path, environment: dict[str, str] | None = None) -> None:
    kept = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=desk, env=kept | (environment or {}), capture_output=True, text=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"


@dataclass
class Node:
    """Where pods have their volumes."""

    folder: Path
    manifests: list[Manifest]
    secrets: dict[str, dict[str, bytes]]
    desk: Path = field(init=False)  # the operator's own directory

    def __post_init__(self) -> None:
        self.desk = self.folder.parent
        self.folder.mkdir()

    def run(self, pod: str, container: str, command: str) -> None:
        """`command` as the shell of the operator's desk reads it, in the container."""
        place = self._place(pod, container)
        for path in ("tmp", "data"):
            command = re.sub(rf"(?<=[\s\"])/{path}/", f"{place[f'/{path}']}/", command)
        shell(command, self.desk, self._environment(pod, container, place))

    def _container(self, pod: str, container: str) -> tuple[Manifest, Manifest]:
        found = dict(pods(self.manifests))[pod]
        return found, next(one for one in containers_of(found) if one["name"] == container)

    def _place(self, pod: str, container: str) -> dict[str, Path]:
        """The directories that are mounted, by where they are in the container."""
        found, one = self._container(pod, container)
        sources = {volume["name"]: volume for volume in found["spec"]["volumes"]}
        places = {}
        for mount in one["volumeMounts"]:
            place = places[mount["mountPath"]] = self.folder / pod.replace("/", "-") / mount["name"]
            place.mkdir(parents=True, exist_ok=True)
            secret = sources.get(mount["name"], {}).get("secret", {})
            for key, content in self.secrets.get(secret.get("secretName", ""), {}).items():
                (place / key).write_bytes(content)
        return places

    def _environment(self, pod: str, container: str, place: dict[str, Path]) -> dict[str, str]:
        told = {"TELETRUNK_DATA": str(place["/data"])}
        for variable in self._container(pod, container)[1]["env"]:
            value = variable.get("value", "")
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                value = self.secrets[reference["name"]].get(reference["key"], b"1").decode()
            mounted = next((path for path in place if value.startswith(f"{path}/") or value == path), None)
            told[variable["name"]] = value if mounted is None else f"{place[mounted]}{value.removeprefix(mounted)}"
        return told


def secrets(authority: Path, databases: Path) -> dict[str, dict[str, bytes]]:
    databases.mkdir()
    urls = {f"{name}-url": f"sqlite+aiosqlite:///{databases / name}.db".encode() for name in ("manager", "vault")}
    pair = {"tls.crt": authority / "authority.pem", "tls.key": authority / "authority.key"}
    return {
        "restored-keys": {"manager.key": KEY, "vault.key": base64.b64encode(KEY)},
        "restored-authority": {name: path.read_bytes() for name, path in pair.items()},
        "teletrunk-database": urls,
        "teletrunk-redis": {"url": b"redis://192.0.2.1"},
        "teletrunk-telegram": {"api-id": b"1", "api-hash": b"h"},
    }


def url(secrets: dict[str, dict[str, bytes]], name: str) -> str:
    return secrets["teletrunk-database"][f"{name}-url"].decode()


@pytest.mark.timeout(400)  # the command eight times
async def test_a_backup_of_the_services_pods_is_restored_before_any_runs(tmp_path: Path) -> None:
    Authority.open(tmp_path / "authority", 1)
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    before = secrets(tmp_path / "authority", tmp_path / "old")
    running = Node(tmp_path / "running", render(CI["maintenance"], "--set=maintenance.enabled=false"), before)
    after = before | secrets(tmp_path / "authority", tmp_path / "new")
    waiting = Node(tmp_path / "waiting", render(CI["maintenance"]), after)
    await _furnish(running)
    nodes = {"Pod": waiting}
    for typed in in_pods():
        pod = POD_OF[typed.pod]
        nodes.get(pod.partition("/")[0], running).run(pod, typed.container, typed.command)
    database = Database(url(after, "manager"))
    await database.open(upgrade=False)
    async with database.transaction() as session:
        plan = await session.get(Subscription, "p1")
        assert plan is not None and plan.name == "plan"
    await database.close()
    vault = Vault(url(after, "vault"), Seal(KEY))
    await vault.open()
    assert (vault.held_back, await vault.get_session("s1")) == (RESTORED, "session")
    await vault.close()
    for line in documented():
        if line.startswith("TELETRUNK_DATA=$PWD/opened/"):
            shell(line, tmp_path)
    given = [path for line in documented() for path in re.findall(r"=(opened/\S+)", line)]
    contents = [(tmp_path / path).read_bytes() for path in given]
    assert contents == [*before["restored-keys"].values(), *before["restored-authority"].values()]


async def _furnish(node: Node) -> None:
    """What pods that have run leave behind."""
    database = Database(url(node.secrets, "manager"))
    await database.open()
    async with database.transaction() as session:
        session.add(Subscription(subscription_id="p1", name="plan", lines=4))
    await database.close()
    vault = Vault(url(node.secrets, "vault"), Seal(KEY))
    await vault.open()
    await vault.put_session("s1", 5_000_000_000, "session")
    await vault.close()
    node.run(
        "StatefulSet/t-teletrunk-storage", "storage", "mkdir -p /data/secrets && printf st1 > /data/secrets/storage.id"
    )


def test_what_is_typed_reaches_both_services_both_ways() -> None:
    found = [(POD_OF[typed.pod], typed.container, *re.findall(r"teletrunk (backup|restore)", typed.command))
             for typed in in_pods() if "teletrunk " in typed.command]  # fmt: skip
    assert found == [
        ("Deployment/t-teletrunk-manager", "manager", "backup"),
        ("StatefulSet/t-teletrunk-storage", "storage", "backup"),
        ("Pod/t-teletrunk-maintenance", "manager", "restore"),
        ("Pod/t-teletrunk-maintenance", "storage", "restore"),
    ]


def test_no_service_runs_beside_maintenance() -> None:
    manifests = render(CI["maintenance"], "--set=manager.autoscaling.enabled=true")
    replicas = {manifest["kind"]: manifest["spec"]["replicas"]
                for manifest in chart.of_kind(manifests, "Deployment", "StatefulSet")}  # fmt: skip
    assert replicas == {"Deployment": 0, "StatefulSet": 0}
    assert not chart.of_kind(manifests, "HorizontalPodAutoscaler")


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    chart.helm_folder()
