"""What the chart's pods may do, what they refer to, and what they are told."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings
from teletrunk.config import CommandSettings, load
from teletrunk_manager.config import ManagerSettings
from teletrunk_session_store.config import StorageSettings
from teletrunk_worker.config import WorkerSettings

from tests.deploy import chart
from tests.deploy.chart import CI, Manifest, called, containers, containers_of, of_kind, pods, render

# Root for one command: the kubelet makes the node's folder as root's, and the Worker is not root.
ROOT_BY_INTENT = "DaemonSet/t-teletrunk-worker:folder"
RUNS_ON = ("Deployment", "StatefulSet", "DaemonSet")
MODELS: dict[str, type[BaseSettings]] = {
    "manager": ManagerSettings,
    "schema": ManagerSettings,
    "storage": StorageSettings,
    "worker": WorkerSettings,
    "call": CommandSettings,
}


@pytest.fixture(scope="module", params=CI)
def values(request: pytest.FixtureRequest) -> Path:
    return CI[request.param]


@pytest.fixture(scope="module")
def manifests(values: Path) -> list[Manifest]:
    return render(values)


def test_nothing_runs_with_rights(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        context = container["securityContext"]
        assert not context.get("privileged"), name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        assert context["capabilities"].get("add", []) == (["CHOWN"] if name == ROOT_BY_INTENT else []), name
        assert context.get("runAsUser") == (0 if name == ROOT_BY_INTENT else None), name


def test_nobody_is_root(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod["spec"].get("hostPID"), name
        assert not pod["spec"].get("hostIPC"), name


def test_only_managers_hold_an_account_of_the_cluster(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        by_the_api = pod["spec"]["automountServiceAccountToken"]
        assert by_the_api is False or name == "Deployment/t-teletrunk-manager", name


def test_every_container_has_its_share(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name


def test_what_runs_on_is_watched(manifests: list[Manifest]) -> None:
    for name, pod in pods(of_kind(manifests, *RUNS_ON)):
        for container in pod["spec"]["containers"]:
            assert {"livenessProbe", "readinessProbe"} <= set(container), name
            named = {port["name"] for port in container["ports"] if "name" in port}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for how in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(how, {}).get("port")
                    assert port is None or port in named, name


def test_images_have_a_version(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        _, _, tag = container["image"].rpartition("/")[2].partition(":")
        assert tag not in ("", "latest"), name


def test_every_port_says_its_protocol(manifests: list[Manifest]) -> None:
    """Server-side apply merges lists of ports by number and protocol: one that is left out cannot be told apart."""
    for name, container in containers(manifests):
        assert all("protocol" in port for port in container.get("ports", [])), name
    for service in of_kind(manifests, "Service"):
        assert all("protocol" in port for port in service["spec"]["ports"]), called(service)


def test_selectors_find_their_pods(manifests: list[Manifest]) -> None:
    for manifest in of_kind(manifests, *RUNS_ON):
        chosen = manifest["spec"]["selector"]["matchLabels"]
        assert [name for name, _ in _chosen(chosen, manifests)] == [called(manifest)]
    for manifest in of_kind(manifests, "Service"):
        found = _chosen(manifest["spec"]["selector"], manifests)
        assert found, called(manifest)
        for port in manifest["spec"]["ports"]:
            assert port["targetPort"] in _port_names(found), called(manifest)
    for manifest in of_kind(manifests, "NetworkPolicy"):
        found = _chosen(manifest["spec"]["podSelector"]["matchLabels"], manifests)
        assert len(found) == 1, called(manifest)
        for rule in manifest["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= _port_names(found), called(manifest)
            for peer in rule.get("from", []):
                assert _chosen(peer["podSelector"]["matchLabels"], manifests), called(manifest)
    for manifest in of_kind(manifests, "PodDisruptionBudget"):
        assert len(_chosen(manifest["spec"]["selector"]["matchLabels"], manifests)) == 1, called(manifest)
    for manifest in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = manifest["spec"]["scaleTargetRef"]
        assert f"{target['kind']}/{target['name']}" in map(called, manifests)


def _chosen(labels: dict[str, str], manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    return [(name, pod) for name, pod in pods(manifests) if labels.items() <= pod["metadata"]["labels"].items()]


def _port_names(found: list[tuple[str, Manifest]]) -> set[str]:
    return {port["name"] for _, pod in found for one in pod["spec"]["containers"] for port in one.get("ports", [])
            if "name" in port}  # fmt: skip


def test_what_a_pod_refers_to_is_there(values: Path, manifests: list[Manifest]) -> None:
    made = {secret["metadata"]["name"]: {*secret.get("data", {}), *secret.get("stringData", {})}
            for secret in of_kind(manifests, "Secret")}  # fmt: skip
    by_cert_manager = {one["spec"]["secretName"] for one in of_kind(manifests, "Certificate")}
    given = set(_existing(yaml.safe_load(values.read_text()))) | by_cert_manager
    config_maps = {one["metadata"]["name"] for one in of_kind(manifests, "ConfigMap")}
    accounts = {one["metadata"]["name"] for one in of_kind(manifests, "ServiceAccount")}
    for name, pod in pods(manifests):
        for secret, keys in _secrets_of(pod):
            assert secret in given or (secret in made and keys <= made[secret]), f"{name}: {secret}: {keys}"
        assert pod["spec"].get("serviceAccountName", next(iter(accounts))) in accounts, name
        assert {one["configMap"]["name"] for one in pod["spec"]["volumes"] if "configMap" in one} <= config_maps, name


def _existing(values: Any) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _existing(value)
        elif name in ("existingSecret", "certificateSecret", "tokenSecret"):
            yield value


def _secrets_of(pod: Manifest) -> Iterator[tuple[str, set[str]]]:
    for volume in pod["spec"]["volumes"]:
        if source := volume.get("secret"):
            yield source["secretName"], {item["key"] for item in source.get("items", [])}
    for container in containers_of(pod):
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], {reference["key"]}


def test_mounts_and_volumes_are_the_same(manifests: list[Manifest]) -> None:
    claims = {called(one): {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
              for one in of_kind(manifests, "StatefulSet")}  # fmt: skip
    for name, pod in pods(manifests):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]} | claims.get(name, set())
        mounted = {mount["name"] for container in containers_of(pod) for mount in container["volumeMounts"]}
        assert mounted == volumes, name


@pytest.mark.parametrize("name", ["builtin", "hostport"])
def test_no_secret_is_anywhere_but_in_secrets(name: str) -> None:
    told = {"storage.telegram.apiHash": "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "storage.telegram.apiId": "26843545"}
    more = [f"--set-string={path}={value}" for path, value in told.items()]
    manifests = render(CI[name], "--set=storage.telegram.existingSecret=,sandbox.enabled=false", *more)
    secrets = {text for secret in of_kind(manifests, "Secret") for text in _contents(secret)}
    assert set(told.values()) <= secrets
    rest = yaml.safe_dump_all(one for one in manifests if one["kind"] != "Secret")
    assert [text[:4] for text in secrets if text in rest] == []


def _contents(secret: Manifest) -> Iterator[str]:
    yield from secret.get("stringData", {}).values()
    for value in secret.get("data", {}).values():
        yield value
        yield base64.b64decode(value).decode(errors="replace")


def test_what_sounds_secret_is_a_file_or_a_reference(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        for variable in container.get("env", []):
            value = variable.get("value", "")
            if re.search("PASSWORD|TOKEN|KEY|HASH|INVITATION", variable["name"]):
                assert re.match("/|$", value), f"{name}: {variable['name']}"
            assert not re.search(r"://\S*@", value), f"{name}: {variable['name']}"
        for argument in [*container.get("command", []), *container.get("args", [])]:
            assert not re.search(r"(password|token|hash)[= ][\w-]", argument, re.IGNORECASE), f"{name}: {argument}"


def test_what_a_service_is_told_is_a_setting_of_its_own(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, container in containers(manifests):
        variables = {one["name"]: one.get("value") for one in container.get("env", [])}
        ours = {variable for variable in variables if variable.startswith("TELETRUNK_")}
        if not ours:
            continue
        model = MODELS[container["name"]]
        known = {f"TELETRUNK_{field.upper()}" for field in model.model_fields}
        assert ours <= known, f"{name}: nothing reads {ours - known}"
        with monkeypatch.context() as patch:
            for variable in ours:
                if text := variables[variable]:
                    patch.setenv(variable, text.replace("$(POD_IP)", "192.0.2.1").replace("$(POD_NAME)", "pod"))
            load(model)  # says which value is wrong


def test_a_pod_is_given_the_time_that_its_drain_may_take(manifests: list[Manifest]) -> None:
    for name, pod in pods(of_kind(manifests, *RUNS_ON)):
        for container in pod["spec"]["containers"]:
            told = {one["name"]: one.get("value") for one in container.get("env", [])}
            if drain := told.get("TELETRUNK_DRAIN_SECONDS"):
                assert pod["spec"]["terminationGracePeriodSeconds"] >= int(drain) + 20, name


def test_what_stands_in_for_each_other_is_spread_over_nodes(manifests: list[Manifest]) -> None:
    for name, pod in pods(of_kind(manifests, *RUNS_ON)):
        spread = [each["topologyKey"] for each in pod["spec"].get("topologySpreadConstraints", [])]
        alone = pod["spec"].get("affinity", {}).get("podAntiAffinity", {})
        if name.endswith(("-manager", "-storage")):
            assert spread == ["kubernetes.io/hostname"], name
        if name.endswith("-worker"):
            assert "requiredDuringSchedulingIgnoredDuringExecution" in alone, name


def test_a_load_balancer_for_sip_shows_where_a_pbx_comes_from(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        if any(port["name"].startswith("sip") for port in service["spec"]["ports"]):
            balanced = service["spec"].get("type") == "LoadBalancer"
            assert not balanced or service["spec"]["externalTrafficPolicy"] == "Local", called(service)


def test_a_workers_own_affinity_keeps_one_on_a_node() -> None:
    wish: dict[str, dict[str, list[str]]] = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}
    }
    manifests = render(CI["hostport"], f"--set-json=worker.affinity={json.dumps({'nodeAffinity': wish})}")
    (affinity,) = (pod["spec"]["affinity"] for name, pod in pods(manifests) if name == "StatefulSet/t-teletrunk-worker")
    assert affinity["nodeAffinity"] == wish
    assert affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]


@pytest.mark.parametrize(
    ("name", "networks", "told"),
    [("hostport", "", [""]), ("external", "", []), ("hostport", "10.0.0.0/8", ["10.0.0.0/8"])],
)
def test_behind_mapped_ports_nobody_is_told_a_pods_own_address(name: str, networks: str, told: list[str]) -> None:
    manifests = render(CI[name], f"--set-string=worker.localNetworks={networks}")
    variables = [one for _, container in containers(manifests) for one in container.get("env", [])]
    assert [one["value"] for one in variables if one["name"] == "TELETRUNK_LOCAL_NETWORKS"] == told


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    chart.helm_folder()
