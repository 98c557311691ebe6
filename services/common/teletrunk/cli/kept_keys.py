"""Keys that lie beside what they open: whoever copies the data directory has both."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_BESIDE: Final = (
    ("vault.key", "vault.db", "TELETRUNK_VAULT_KEY_FILE"),
    ("manager.key", "manager.db", "TELETRUNK_KEY_FILE"),
)


def warnings(data: Path) -> list[str]:
    return [
        f"{data / 'secrets' / key} lies beside {database}, which it opens: a copy of this directory is enough for both;"
        f" keep it elsewhere with {setting}"
        for key, database, setting in _BESIDE
        if (data / "secrets" / key).exists() and (data / database).exists()
    ]
