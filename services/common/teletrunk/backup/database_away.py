"""A database that went away in the middle. What failed has left nothing behind, so that it may be done again."""

from __future__ import annotations

from teletrunk.backup.sealed_file import BackupError
from teletrunk.database import is_away


class DatabaseAway(BackupError):
    """A moment later the same may succeed."""


def failure(text: str, cause: Exception) -> BackupError:
    return DatabaseAway(text) if is_away(cause) else BackupError(text)
