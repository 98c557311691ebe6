"""The edge alone, and calls whose mistakes count, for the tests of this folder."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
import pytest_asyncio
import structlog

from .port_world import PortWorld, port_world


@pytest_asyncio.fixture
async def world() -> AsyncIterator[PortWorld]:
    async with port_world() as made:
        yield made


@pytest.fixture(scope="module")
def our_mistakes() -> Iterator[list[MutableMapping[str, Any]]]:
    """Errors that are logged, and nothing else is: calls survive mistakes of ours, tests do not."""
    found: list[MutableMapping[str, Any]] = []

    def keep(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        found.append(structlog.processors.format_exc_info(logger, method, event))
        raise structlog.DropEvent

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), processors=[keep])
    yield found
    structlog.reset_defaults()
    assert not found, found[0].get("exception", found[0])
