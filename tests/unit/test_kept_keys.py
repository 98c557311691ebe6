"""A key beside what it opens is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from teletrunk.cli.kept_keys import warnings


@pytest.mark.parametrize(("key", "database"), [("vault.key", "vault.db"), ("manager.key", "manager.db")])
def test_a_key_beside_what_it_opens_is_named(tmp_path: Path, key: str, database: str) -> None:
    (tmp_path / "secrets").mkdir()
    assert warnings(tmp_path) == []
    (tmp_path / database).touch()
    assert warnings(tmp_path) == []  # the key comes from elsewhere
    (tmp_path / "secrets" / key).touch()
    (said,) = warnings(tmp_path)
    assert key in said and database in said
