"""What can be set: values.yaml and its schema name the same, each setting changes something, wrong ones are refused."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.chart import CHART, CI, Manifest, read, render, template, without_what_is_random

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FREE = ("global",)  # helm's own, for charts that are part of another

Path = tuple[str, ...]
Group = dict[str, Any]

# Another value than the default, where one cannot be guessed from the default or the schema.
OTHER: dict[str, Any] = {
    "authority.certManager.issuerRef": {"kind": "Issuer", "name": "ours"},
    "database.builtin.storage": "9Gi",
    "image.pullSecrets": [{"name": "registry"}],
    "join.invitation.value": "invitation",
    "metrics.serviceMonitor.interval": "17s",
    "storage.telegram.apiHash": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "storage.telegram.apiId": "26843545",
    "worker.data.hostPath": "/srv/other",
    "worker.localNetworks": "10.0.0.0/8",
    "worker.neverBanned": "192.0.2.0/24",
    "worker.replicas": 3,
    "worker.publicAddress.value": "192.0.2.9",
    "worker.rtpPorts": "20000-20999",
}
# The same for what has its form by a name.
OTHER_OF: dict[str, Any] = {
    "address": "other.example:5052",
    "affinity": {"nodeAffinity": {}},
    "env": [{"name": "TELETRUNK_OTHER", "value": "other"}],
    "peers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "quantity": "17Mi",
    "resources": {"requests": {"cpu": "17m"}},
    "tolerations": [{"key": "other", "operator": "Exists"}],
}
# What has to be set for a setting to matter, where no values file of ci/ does so.
_TELEGRAM = f'storage.telegram={{"existingSecret": "", "apiId": "1", "apiHash": "{32 * "0"}"}}'
MATTERS_WITH = {
    "join.invitation.value": ("own-worker", 'join.invitation={"existingSecret": "", "value": "one"}'),
    "storage.telegram.apiHash": ("external", _TELEGRAM),
    "storage.telegram.apiId": ("external", _TELEGRAM),
}


def _leaves(values: Group, schema: Group, at: Path = ()) -> Iterator[tuple[Path, Any, Group]]:
    """Each setting with its default and its schema. What has a schema of its own inside is no setting but a group."""
    for name, value in values.items():
        inner = schema["properties"][name]
        if "properties" in inner:
            yield from _leaves(value, inner, (*at, name))
        else:
            yield (*at, name), value, inner


LEAVES = list(_leaves(VALUES, SCHEMA))


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    chart.helm_folder()


def test_the_schema_names_what_values_yaml_names() -> None:
    assert sorted(".".join(path) for path, _, _ in LEAVES) == sorted(_described(SCHEMA))


def _described(schema: Group, at: Path = ()) -> Iterator[str]:
    assert schema["additionalProperties"] is False, f"{'.'.join(at)} lets what is misspelt pass"
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from _described(inner, (*at, name))
        elif name not in FREE:
            yield ".".join((*at, name))


@pytest.mark.parametrize(("path", "default", "schema"), LEAVES, ids=[".".join(path) for path, _, _ in LEAVES])
def test_every_setting_changes_something(path: Path, default: Any, schema: Group) -> None:
    name = ".".join(path)
    other = OTHER.get(name, _other(default, schema))
    changed = f"--set-json={name}={json.dumps(other)}"
    contexts = [MATTERS_WITH[name]] if name in MATTERS_WITH else [(file, "") for file in CI]
    assert any(_differ(file, sets, changed) for file, sets in contexts), f"nothing reads {name}"


def _other(default: Any, schema: Group) -> Any:
    if "enum" in schema:
        return next(value for value in reversed(schema["enum"]) if value != default)
    if (form := schema.get("$ref", "").rpartition("/")[2]) in OTHER_OF:
        return OTHER_OF[form]
    match default:
        case bool():
            return not default
        case int() | float():
            return default + 1
        case str():
            return "other"
        case list():
            return ["other"]
        case _:
            return {"other": "1"}


def _differ(file: str, sets: str, changed: str) -> bool:
    """Whether the change shows; a complaint of a template's own shows too, one of the schema is the test's fault."""
    after = template(CI[file], *_json(sets), changed)
    assert "meet the specifications of the schema" not in after.stderr, after.stderr
    return after.returncode != 0 or without_what_is_random(read(after.stdout)) != _before(file, sets)


def _json(sets: str) -> list[str]:
    return [f"--set-json={sets}"] if sets else []


@functools.cache
def _before(file: str, sets: str) -> list[Manifest]:
    return without_what_is_random(render(CI[file], *_json(sets)))


@pytest.mark.parametrize(
    "wrong",
    [
        "managr.replicas=2",
        "manager.replica=2",
        "manager.replicas=0",
        "manager.replicas=two",
        "manager.publicAddress=manager.example",
        "manager.service.type=Cluster",
        "manager.recordsDays=-1",
        "manager.autoscaling.targetCPUUtilizationPercentage=120",
        "storage.telegram.apiHash=0123",
        "storage.telegram.apiId=mine",
        "storage.drainSeconds=-1",
        "worker.kind=Deployment",
        "worker.network=bridge",
        "worker.sipPort=80",
        "worker.rtpPorts=16384",
        "worker.maxCalls=401",
        "worker.publicAddress.field=spec.nodeName",
        "worker.publicAddress.value=pbx.example",
        "log.level=LOUD",
        "image.pullPolicy=Sometimes",
        "metrics.serviceMonitor.interval=often",
        "database.builtin.enabled=yes",
        "networkPolicy.metricsFrom=prometheus",
        'networkPolicy.apiFrom=[{"podSelektor": {}}]',
        "manager.publicAddress=manager.example:65536",
        "manager.api.tokenSecret=My Secret",
        'manager.podAnnotations={"rolled": 1}',
        "database.existingSecret=Under_Score",
        "database.builtin.storage=8GB",
        "storage.persistence.size=big",
        "storage.publicAddress=https://storage.example:5052",
        "worker.rtpPorts=70000-70999",
        "worker.publicAddress.value=192.0.2.256",
        "worker.tls.port=443",
        "worker.localNetworks=pbx.example",
        "worker.neverBanned=pbx.example",
        "worker.data.hostPath=relative/path",
        "worker.resources.limit.memory=1Gi",
        "worker.resources.limits.memory=lots",
        'worker.env=[{"nam": "TELETRUNK_OTHER", "value": "1"}]',
        'worker.nodeSelector={"sound": true}',
        'worker.tolerations=[{"kye": "sound"}]',
        'worker.affinity={"nodeAffinty": {}}',
        "image.tag=a b",
        "image.registry=https://registry.example/teletrunk",
        'image.pullSecrets=["registry"]',
        'authority.certManager.issuerRef={"kind": "Issuer"}',
        "fullnameOverride=-calls",
    ],
)
def test_the_schema_refuses(wrong: str) -> None:
    how = "--set-json" if wrong.endswith(("]", "}")) else "--set"
    done = template(CI["external"], f"{how}={wrong}")
    assert done.returncode != 0
    assert "meet the specifications of the schema" in done.stderr
    assert wrong.partition("=")[0].partition(".")[0] in done.stderr


@pytest.mark.parametrize(
    ("file", "wrong", "complaint"),
    [
        ("external", "worker.maxCalls=41", "worker.rtpPorts: 16384-16703 are too few for maxCalls=41: eight a call"),
        ("external", "worker.data.persistence.enabled=true", "a DaemonSet has no volumes of its own"),
        ("external", "worker.replicas=2", "a DaemonSet has one on each node"),
        ("external", "worker.sipPort=16703", "worker.sipPort: 16703 is one of worker.rtpPorts"),
        ("external", "worker.sipPort=9464", "neither is 9464, where the metrics are"),
        ("hostport", "worker.tls.port=5060", "worker.sipPort, worker.tls.port: two that differ"),
        ("external", "manager.autoscaling.minReplicas=6", "minReplicas is more than maxReplicas"),
        ("external", "storage.service.enabled=true", "each is dialled as itself"),
        ("external", "storage.publicAddress=storage.example:5052", "each is dialled as itself"),
        ("external", "redis.existingSecret=", "more than one Manager needs Redis"),
        ("external", "database.existingSecret=", "database: set database.existingSecret"),
        ("external", "authority.existingSecret=mine", "give the API's certificate too"),
        ("own-worker", "storage.enabled=true", "it is for one kind of service"),
        ("own-storage", "keys.existingSecret=", "an own Storage needs keys.existingSecret"),
        ("own-worker", "join.invitation.existingSecret=", "join.invitation: a part alone needs what"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(file: str, wrong: str, complaint: str) -> None:
    done = template(CI[file], f"--set={wrong}")
    assert done.returncode != 0
    assert complaint in done.stderr
