"""docs/promises.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_has_its_test() -> None:
    page = (ROOT / "docs" / "promises.md").read_text()
    file = ""
    found = 0
    for name in re.findall(r"`([^`]*test[^`]*)`", page):
        path, _, test = name.partition("::")
        file = path or file
        assert (ROOT / file).exists(), name
        if test:
            assert f"def {test.rpartition('::')[2]}(" in (ROOT / file).read_text(), name
            found += 1
    assert found > 40
