"""docs/promises.md and docs/security.md name tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "least"), [("promises.md", 40), ("security.md", 20)])
def test_every_promise_has_its_test(name: str, least: int) -> None:
    page = (ROOT / "docs" / name).read_text()
    file = ""
    found = 0
    for named in re.findall(r"`([^`]*test[^`]*)`", page):
        path, _, test = named.partition("::")
        file = path or file
        assert (ROOT / file).exists(), named
        if test:
            assert f"def {test.rpartition('::')[2]}(" in (ROOT / file).read_text(), named
            found += 1
    assert found > least
