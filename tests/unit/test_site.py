"""docs/ as a site: every page is in it, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("material", reason="pip install '.[docs]'")


def test_the_site_is_built_with_every_link_checked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")}
    built = {str(page.parent.relative_to(tmp_path)) for page in tmp_path.rglob("index.html")}
    assert {re.sub(r"(^|/)(README|index)$", "", page) or "." for page in pages} <= built
    commands = (tmp_path / "cli" / "index.html").read_text()
    assert "teletrunk account add" in commands and "--unlimited" in commands
