"""Whose an account is to use. Pure."""

from __future__ import annotations

from collections.abc import Collection


def may_use(administrator: str, owner: str, sharers: Collection[str]) -> bool:
    """An administrator uses what is theirs or shared with them; the installation itself (empty) uses everything."""
    return administrator in ("", owner) or administrator in sharers
