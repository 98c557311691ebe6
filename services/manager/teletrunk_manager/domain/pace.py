"""How often something may be said: so much at once, and so much in time. Pure."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MOST_NAMES = 10_000


class Pace:
    """For each name `burst` at once, and `per_second` from then on. Who has not been heard for longest is forgotten."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # and as of when

    def allows(self, name: Hashable, cost: float = 1.0) -> bool:
        """Whether it may be said now; then it is counted. What costs more is paid for by those that come next."""
        now = self._clock()
        left, since = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        self._left[name] = (left - cost if left >= 1 else left), now
        if len(self._left) > _MOST_NAMES:
            self._left.popitem(last=False)
        return left >= 1

    def seconds(self, name: Hashable) -> int:
        """Until it is allowed again."""
        left, since = self._left.get(name, (self._burst, 0.0))
        return max(1, math.ceil((1 - left) / self._per_second - (self._clock() - since)))
