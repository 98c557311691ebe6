"""Which trunks an incoming call is offered to, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Protocol, TypeVar


class Ranked(Protocol):
    """A trunk, as far as the order goes."""

    @property
    def login(self) -> str: ...
    @property
    def priority(self) -> int: ...


Trunk = TypeVar("Trunk", bound=Ranked)


def tiers(trunks: Iterable[Trunk]) -> list[list[Trunk]]:
    """Lower priority numbers first; equal ones ring together, named in the order of their logins."""
    ordered = sorted(trunks, key=lambda trunk: (trunk.priority, trunk.login))
    return [list(group) for _, group in groupby(ordered, key=lambda trunk: trunk.priority)]
