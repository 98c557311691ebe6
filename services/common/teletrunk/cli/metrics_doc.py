"""The page of metrics, out of their definitions."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from teletrunk import metrics

_HEAD = """# Metrics

What `/metrics` shows, in Prometheus' text form, when `TELETRUNK_MANAGER_METRICS_ADDRESS`,
`TELETRUNK_WORKER_METRICS_ADDRESS` or `TELETRUNK_STORAGE_METRICS_ADDRESS` is set; `/live` and `/ready` stand beside it.
Labels take a bounded number of values. A service shows all of these, and moves its own.
Written by `teletrunk metrics-doc`.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def document() -> str:
    """Markdown, one line a metric, in the order of their definition."""
    return _HEAD + "".join(_line(each) for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))


def _line(metric: MetricWrapperBase) -> str:
    (described,) = metric.describe()
    name = described.name + ("_total" if described.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {described.type} | {labels} | {described.documentation} |\n"
