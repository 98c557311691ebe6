"""The table of the error contract as it was measured, for the end of a run."""

from __future__ import annotations

import pytest
from teletrunk.errors import TABLE

_HERE = "tests/conformance/"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every row of the contract: what was answered and when, or that no test has caused it."""
    lines: dict[str, list[str]] = {row_id: [] for row_id in TABLE}
    for outcome, reports in terminalreporter.stats.items():
        for each in reports:
            if getattr(each, "when", "") == "call" and each.nodeid.startswith(_HERE):
                _add(lines, dict(each.user_properties), outcome)
    if not any(lines.values()):
        return
    terminalreporter.section("error contract")
    terminalreporter.write_line(f"{'row':33}{'answer':48}{'time':>9}{'back':>9}  test")
    for number, (row_id, measured) in enumerate(lines.items(), 1):
        for line in measured or [f"{'-':48}{'':18}  none"]:
            terminalreporter.write_line(f"{number:2} {row_id:30}{line}")


def _add(lines: dict[str, list[str]], properties: dict[str, object], outcome: str) -> None:
    if row_id := properties.get("row"):
        seconds, back = properties["seconds"], properties.get("back")
        after = f"{back:7.2f} s" if back is not None else ""
        lines[str(row_id)].append(f"{str(properties['answer'])[:47]:48}{seconds:7.3f} s{after:>9}  {outcome}")
