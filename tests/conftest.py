"""Servers that several tests share."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import teletrunk  # noqa: F401  before grpc: it says how grpc shall behave
from teletrunk_sandbox.world import World

from tests.servers import Postgres, Redis

_LINES = 40
_CHATTER = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} |\[debug|\"debug\"")  # pjlib's own lines, and ours of that level


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what its services had to say: on another machine there is nothing else to look at."""
    report = yield
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
