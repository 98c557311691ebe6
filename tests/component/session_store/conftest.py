"""A Session Storage for the tests of each module here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .storage import Storage, storage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Storage]:
    async with storage(tmp_path_factory.mktemp("storage")) as made:
        yield made
    assert "Traceback" not in made.said()
    assert "never retrieved" not in made.said()
