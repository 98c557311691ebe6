"""The data centre's own clock, which a test may set apart from the machine's."""

from __future__ import annotations

import time


class Clock:
    """Unix time as the data centre has it. A machine whose clock is wrong sees it so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.ahead
