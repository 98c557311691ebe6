"""Who holds how many of what there are few of: no holder has so many that others have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class Places(Counter[Holder]):
    """Places by holder. Who holds none takes no room."""

    def take(self, holder: Holder, most: int) -> bool:
        """One more, unless it has so many already."""
        if self[holder] >= most:
            return False
        self[holder] += 1
        return True

    def give_back(self, holders: Iterable[Holder]) -> None:
        """One of each of these."""
        for holder in holders:
            self[holder] -= 1
            if not self[holder]:
                del self[holder]
