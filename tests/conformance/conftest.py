"""The gateway of each module, and the table of the error contract as it was measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk.errors import TABLE
from teletrunk_sandbox.world import World

from tests import sip_wire

from .gateway import Gateway, Report

_HERE = "tests/conformance/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    async with World(directory) as world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        furnished = Gateway(world, wire)
        await furnished.furnish()
        yield furnished


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def works(gateway: Gateway) -> None:
    """Each test begins with a gateway that works, whatever the test before has left."""
    await gateway.back_in_service()


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    return Report(record_property)


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
