"""Alerts, dashboard and what Prometheus scrapes fit each other, and are as Prometheus wants them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from prometheus_client.metrics import MetricWrapperBase
from teletrunk import metrics
from teletrunk.errors import TABLE
from teletrunk_sandbox.world import World

from tests.deploy import chart
from tests.deploy.chart import CHART, CI, ROOT, of_kind, render
from tests.servers import free_port

ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PAGE = "docs/operations/monitoring.md"
KINDS = {"MANAGER": "manager", "WORKER": "worker", "STORAGE": "storage"}
_DEADLINE_S = 60
_NAME = re.compile(r"\bteletrunk_\w+")


def promtool(*arguments: str, given: str = "") -> str:
    """Fails the test with what promtool says; skips where it is missing."""
    if shutil.which("promtool") is None:
        chart.cannot("promtool is missing: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, input=given, timeout=_DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _expressions() -> Iterator[str]:
    """Those of the dashboard, with its variables as Grafana would fill them in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$__rate_interval", "5m", target["expr"]).replace("$job", ".*").replace("$namespace", ".*")


def _samples() -> set[str]:
    """The names under which Prometheus knows our metrics."""
    names = {"up"}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(described.type, ("",))
            names |= {described.name + ending for ending in endings}
    return names


def test_each_alert_fires_when_it_must_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "tests/deploy/alerts_test.yaml")


def test_each_alert_is_tested() -> None:
    tests = (ROOT / "tests" / "deploy" / "alerts_test.yaml").read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in tests] == []


def test_each_alert_tells_a_person_what_to_do() -> None:
    headings = re.findall(r"^### (Teletrunk\w+)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        assert rule["annotations"]["runbook_url"].endswith(f"/{PAGE}#{rule['alert'].lower()}")


def test_every_selector_of_an_alert_names_the_job() -> None:
    """Else one release's alerts would be about another's services."""
    for rule in RULES:
        selectors = re.findall(r"\b(?:up|teletrunk_\w+)(\{[^}]*\})?", rule["expr"])
        assert selectors and all('job="teletrunk"' in one for one in selectors), rule["alert"]


def test_alerts_and_dashboard_use_metrics_that_there_are() -> None:
    used = {name for text in (*(rule["expr"] for rule in RULES), *_expressions()) for name in _NAME.findall(text)}
    assert used - _samples() == set()


def test_refusals_that_the_operator_can_mend_are_alerted_of() -> None:
    (rule,) = (rule for rule in RULES if rule["alert"] == "TeletrunkRefusals")
    (rows,) = re.findall(r'row=~"([^"]*)"', rule["expr"])
    by_configuration = {"registration-type-not-allowed"}  # the operator's own wish
    assert set(rows.split("|")) == {row.id for row in TABLE.values() if row.mender == "operator"} - by_configuration


def test_the_dashboard_is_sound(tmp_path: Path) -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$(?!__)(\w+)", json.dumps(panels))) <= variables
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(_expressions())]
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_a_release_is_watched_whole(tmp_path: Path) -> None:
    manifests = render(CI["external"])
    (service,) = (one for one in of_kind(manifests, "Service") if one["metadata"]["name"].endswith("-metrics"))
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    assert [one for one in of_kind(manifests, "Service") if chosen <= one["metadata"]["labels"].items()] == [service]
    assert [one["port"] for one in monitor["spec"]["endpoints"]] == [one["name"] for one in service["spec"]["ports"]]
    watched = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for _, pod in chart.pods(manifests)
               if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()}  # fmt: skip
    assert watched == set(KINDS.values())
    (dashboard,) = of_kind(manifests, "ConfigMap")
    assert json.loads(dashboard["data"]["teletrunk.json"]) == DASHBOARD
    (rule,) = of_kind(manifests, "PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(file))
    ours = f'job="{service["metadata"]["name"]}",namespace="{chart.NAMESPACE}"'
    expressions = [one["expr"] for group in rule["spec"]["groups"] for one in group["rules"]]
    assert all(ours in one and 'job="teletrunk"' not in one for one in expressions)


def test_a_part_alone_is_not_told_that_the_rest_is_missing() -> None:
    (rule,) = of_kind(render(CI["own-worker"], "--set=metrics.prometheusRule.enabled=true"), "PrometheusRule")
    assert [group["name"] for group in rule["spec"]["groups"]] == ["teletrunk-services", "teletrunk-worker"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scrapes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """What each service of a running installation with certificates answers."""
    ports = {name: free_port() for name in KINDS}
    settings: dict[str, Any] = {
        f"TELETRUNK_{name}_METRICS_ADDRESS": f"127.0.0.1:{port}" for name, port in ports.items()
    }
    async with World(tmp_path_factory.mktemp("scraped"), TELETRUNK_TLS="on", **settings), httpx.AsyncClient() as client:
        answers = {name: await client.get(f"http://127.0.0.1:{port}/metrics") for name, port in ports.items()}
        yield {name: answer.text for name, answer in answers.items()}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_scrape_is_as_prometheus_wants_it(scrapes: dict[str, str]) -> None:
    for text in scrapes.values():
        assert promtool("check", "metrics", given=text) == ""


@pytest.mark.asyncio(loop_scope="module")
async def test_a_scrape_shows_what_alerts_look_for(scrapes: dict[str, str]) -> None:
    """From the start: Prometheus sees no increase in what was not there before."""
    for name, text in scrapes.items():
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        left = float(values[f'teletrunk_certificate_seconds_left{{kind="{KINDS[name]}"}}'])
        assert 89 * 86_400 < left < 91 * 86_400, name
        assert {f'teletrunk_refusals_total{{row="{row}"}}' for row in TABLE} <= set(values), name
        assert any(one.startswith("teletrunk_background_failures_total{") for one in values), name
    worker = scrapes["WORKER"].splitlines()
    assert {f'teletrunk_hosts_died_total{{kind="{kind}"}} 0.0' for kind in ("sip", "telegram")} <= set(worker)
    assert "teletrunk_calls_most 20.0" in worker
