"""What several Managers share of the present: who is attached where, which lines are taken, that something changed.

One contract, two ways to keep it: `MemoryState` for a single Manager, `RedisState` for several.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

SERVICE_S: Final = 12.0  # a service that has not been shown again for this long is away
LINE_S: Final = 15.0  # a line that no Worker has named for this long is free again

Line = tuple[str, str]  # a pool (a subscription's id) and the call that occupies one line of it


@dataclass(frozen=True)
class Mark:
    """How far the record of a service has come: what is known up to it needs no second reading."""

    # Another one with each beginning; empty: a Manager of the version before writes the record, whole each time.
    stamp: str = ""
    count: int = 0  # changes since that beginning
    seen_at: float = 0.0
    left: bool = False


@dataclass(frozen=True)
class Telling:
    """What one knows who has read up to the mark."""

    mark: Mark
    afresh: bool  # the first part is a whole record; else all are changes of what was known
    parts: list[bytes]


@dataclass(frozen=True)
class Holding:
    """Whose stream it is, and when it last said something."""

    service_id: str
    holder: str
    seen_at: float


class OutOfReach(Exception):
    """The shared state cannot be asked now."""


class SharedState(Protocol):
    """Every method but `changes` and `passed_on` may raise `OutOfReach`, and does so within two seconds."""

    async def take_service(self, service_id: str, holder: str, record: bytes) -> None:
        """A service has attached to `holder`; whoever held it before holds it no longer."""
        ...

    async def show_service(self, service_id: str, holder: str, change: bytes, whole: Callable[[], bytes]) -> bool:
        """The service is another one by `change`; `whole` is called for the record with it when the change alone does
        not do: nothing else is known there, or so many changes are that they are longer. An empty change is none.

        False, and nothing done, when somebody else holds it by now.
        """
        ...

    async def keep_services(self, holdings: Iterable[Holding]) -> tuple[set[str], set[str]]:
        """They are still there. Returns those that somebody else holds by now, and those that are to be shown again:
        what is known there of them is not what we have shown."""
        ...

    async def drop_service(self, service_id: str, holder: str) -> bool:
        """The service has left `holder`. False, and nothing done, when somebody else holds it by now."""
        ...

    async def services(self) -> dict[str, Mark]:
        """All services that are attached anywhere, and those that have left a moment ago.

        One that is missing has not been shown for long, or was forgotten.
        """
        ...

    async def service(self, service_id: str, known: Mark | None) -> Telling | None:
        """What is new since that mark; None when there is no such service any more."""
        ...

    async def take_line(self, line: Line, limit: int) -> bool:
        """Atomic: True when the call has the line (or had it already), False when `limit` others have theirs."""
        ...

    async def keep_lines(self, lines: Iterable[Line]) -> None:
        """These calls live: their lines are theirs, even if they had been forgotten."""
        ...

    async def renew_lines(self, lines: Iterable[Line]) -> None:
        """The same, but a line that was given back meanwhile stays free."""
        ...

    async def give_line(self, line: Line) -> None:
        """The call has ended. Nothing happens when it had no line."""
        ...

    async def lines(self, pool: str) -> int:
        """How many are taken."""
        ...

    async def announce(self, *, stored: bool = True) -> None:
        """Tells every Manager that something has changed: what the database has, or only who is attached where."""
        ...

    def changes(self) -> AsyncIterator[bool]:
        """Whether what the database has may have changed: for each announcement (some may be joined), and when they may
        have been missed."""
        ...

    async def pass_on(self, message: bytes) -> int:
        """To every Manager that listens at the moment; nobody else ever reads it. Returns how many these are."""
        ...

    def passed_on(self) -> AsyncIterator[bytes]:
        """What has been passed on since it listens."""
        ...

    async def close(self) -> None: ...
