"""The Helm chart as a whole: helm, Kubernetes' own schemas and checkov accept what every values file renders to."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from kubernetes_validate.utils import all_versions

from tests.deploy import chart
from tests.deploy.chart import CI, ROOT, called, of_kind, render

# The package's oldest schemas are of 1.25: what the chart does on older clusters, only a cluster can tell.
VERSIONS = (all_versions()[0], kubernetes_validate.latest_version())
# Without a cluster helm takes for granted every API that its own library knows, the newest and the oldest ones.
SERVED_BY_OPERATORS = ("cert-manager.io/v1", "monitoring.coreos.com/v1")
_CHECKOV_S = 400


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    chart.helm_folder()


@pytest.mark.parametrize("name", CI)
def test_helm_lints_it(name: str) -> None:
    done = chart.helm("lint", "--strict", chart.CHART, "--values", CI[name])
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_says_what_it_needs() -> None:
    """Each line leads to the next, the last to a render."""
    given: list[str] = []
    for complaint, remedy in (
        ("storage.telegram: give existingSecret, or apiId and apiHash", "storage.telegram.existingSecret=a"),
        ("manager.replicas: more than one Manager needs Redis: set redis.existingSecret", "redis.existingSecret=b"),
        ("database: set database.existingSecret", "database.existingSecret=c"),
    ):
        done = chart.template(None, *given)
        assert done.returncode != 0
        assert complaint in done.stderr
        given += ["--set", remedy]
    assert render(None, *given)


@pytest.mark.parametrize("name", CI)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_schemas_know_every_field(name: str, version: str) -> None:
    for manifest in render(CI[name], "--kube-version", version):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            assert manifest["apiVersion"] in SERVED_BY_OPERATORS, called(manifest)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{called(manifest)}: {'.'.join(map(str, error.path))}: {error.message}")


@pytest.mark.parametrize("name", CI)
def test_an_older_cluster_gets_the_older_forms_of_the_same(name: str, tmp_path: Path) -> None:
    """helm cannot be told that an API is missing, so the question is asked of one that no cluster has."""
    old = Path(shutil.copytree(chart.CHART, tmp_path / "teletrunk"))
    for path in old.glob("templates/*.yaml"):
        text = path.read_text()
        for api in ("policy/v1", "autoscaling/v2"):
            text = text.replace(f'Capabilities.APIVersions.Has "{api}"', 'Capabilities.APIVersions.Has "none/v1"')
        path.write_text(text)
    older = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
    expected = of_kind(render(CI[name]), "PodDisruptionBudget", "HorizontalPodAutoscaler")
    for manifest in expected:
        manifest["apiVersion"] = older[manifest["apiVersion"]]
    assert of_kind(render(CI[name], chart=old), "PodDisruptionBudget", "HorizontalPodAutoscaler") == expected


def test_some_values_file_has_what_differs_by_version() -> None:
    kinds = {manifest["kind"] for path in CI.values() for manifest in render(path)}
    assert {"PodDisruptionBudget", "HorizontalPodAutoscaler", "StatefulSet", "DaemonSet"} <= kinds


@pytest.mark.timeout(600)
def test_checkov_finds_nothing(tmp_path: Path) -> None:
    for name, path in CI.items():
        (tmp_path / f"{name}.yaml").write_text(chart.template(path).stdout)
    done = subprocess.run(
        ["tools/kube/checkov", "--config-file", "deploy/k8s/checkov.yaml", "--directory", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=_CHECKOV_S,
    )  # fmt: skip
    if done.returncode == chart.NOT_POSSIBLE:
        chart.cannot(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CI)
def test_two_renders_differ_in_what_is_random_only(name: str) -> None:
    first, second = (chart.without_what_is_random(render(CI[name])) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", CI)
def test_what_is_said_after_an_install_is_true_of_it(name: str) -> None:
    done = chart.helm("install", "t", chart.CHART, "--namespace", chart.NAMESPACE, "--values", CI[name],
                      "--dry-run=client", "--kubeconfig=/dev/null")  # fmt: skip
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert notes.strip() and "<no value>" not in notes
    made = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in render(CI[name])}
    named = {("Deployment", found) for found in re.findall(r"deploy/(t-\S+)", notes)}
    named |= {("Secret", found) for found in re.findall(r"the Secret (t-[\w-]+)", notes)}
    assert named <= made
    assert ("account add" in notes) is (name in ("builtin", "external", "hostport"))
