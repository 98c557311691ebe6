"""How much of the API one token's holder has at a time: some requests wait for people, and places are few."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

MOST: Final = 50


class AtOnce:
    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, name: str) -> Iterator[bool]:
        """Whether there is one for this holder."""
        if self._inside[name] >= MOST:
            yield False
            return
        self._inside[name] += 1
        try:
            yield True
        finally:
            self._inside[name] -= 1
            if not self._inside[name]:
                del self._inside[name]
