"""A tape of choices, for ports that do as they like: short, so that hypothesis finds and shrinks what matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
Said = list[tuple[float, T]]

TAPES = st.binary(max_size=80)
_DELAYS = (0.01, 0.0, 0.0, 0.5, 3.0, 11.0, 14.0, 40.0, 100.0)
_MOST_NONSENSE = 5


class Tape:
    """Where it is at its end, everything goes well."""

    def __init__(self, choices: bytes) -> None:
        self._choices = list(choices)

    def among(self, things: Sequence[T]) -> T:
        return things[self._choices.pop(0) % len(things)] if self._choices else things[0]

    def delay(self) -> float:
        return self.among(_DELAYS)

    def saying(self, usual: Sequence[Sequence[T]], all_: Sequence[T]) -> Said[T]:
        """What is said when something is asked for: the first of the usual, another one, nothing, or nonsense."""
        manner = self.among(["first", "first", "usual", "usual", "nothing", "nonsense"])
        said: Sequence[T] = ()
        if manner == "nonsense":
            said = [self.among(all_) for _ in range(self.among(range(_MOST_NONSENSE)))]
        elif manner != "nothing":
            said = usual[0] if manner == "first" else self.among(usual)
        return [(self.delay(), one) for one in said]
