"""Servers that several tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import teletrunk  # noqa: F401  before grpc: it says how grpc shall behave

from tests.servers import Postgres, Redis


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
