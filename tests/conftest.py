"""Servers that several tests share, and the order of files in a parallel run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import teletrunk  # noqa: F401  before grpc: it says how grpc shall behave
from hypothesis import settings
from teletrunk_sandbox.world import World

from tests.conformance.table import pytest_terminal_summary  # noqa: F401  here: a parallel run's head reads no other
from tests.servers import Postgres, Redis

# How long an example takes says how busy the machine is; tests that promise speed count CPU time themselves.
settings.register_profile("teletrunk", deadline=None)
settings.load_profile("teletrunk")

_LINES = 40
_CHATTER = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} |\[debug|\"debug\"")  # pjlib's own lines, and ours of that level

# What takes longest begins first, so that no worker is left alone with it at the end.
_LONGEST = (
    "interop/test_asterisk.py",
    "interop/test_kamailio.py",
    "integration/test_api.py",
    "integration/test_manager.py",
    "integration/test_backup.py",
    "e2e/test_restore.py",
    "integration/test_exclusive_sessions.py",
    "conformance/test_session_outages.py",
    "e2e/test_scanners.py",
    "chaos/test_chaos.py",
    "chaos/test_calls_live_or_end.py",
    "e2e/test_calls.py",
    "integration/test_subscriptions.py",
    "conformance/test_telegram_to_sip.py",
    "conformance/test_cuts.py",
    "conformance/test_registration.py",
    "conformance/test_common.py",
    "e2e/test_policy.py",
    "conformance/test_policy.py",
    "integration/test_fleet.py",
    "conformance/test_sip_to_telegram.py",
    "e2e/test_baresip.py",
)
_RANK = {name: rank for rank, name in enumerate(_LONGEST)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run only: workers take whole files, in this order."""
    if config.getoption("dist", "no") != "no":
        items.sort(key=lambda item: _RANK.get(item.nodeid.partition("::")[0].removeprefix("tests/"), len(_RANK)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what its services had to say: on another machine there is nothing else to look at."""
    try:
        report = yield
    except SystemError:  # CPython 3.11: ast.parse, for the traceback, bears no finaliser that raises meanwhile
        report = pytest.TestReport.from_item_and_call(item, call)
    if report.failed:
        for argument in getattr(item, "funcargs", {}).values():
            world = getattr(getattr(argument, "gateway", argument), "world", argument)
            if isinstance(world, World):
                report.sections.append(("what the services said", _said(world)))
                break
    return report


def _said(world: World) -> str:
    lines = []
    for file in sorted((world.directory / "data" / "logs").glob("*.log")):
        said = [line for line in file.read_text(errors="replace").splitlines() if not _CHATTER.search(line)]
        lines += [f"--- {file.name}", *said[-_LINES:]]
    return "\n".join(lines)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """One that the test may stop and freeze."""
    server = Redis()
    yield server
    with contextlib.suppress(ProcessLookupError):
        server.thaw()
    server.stop()
