"""Failures that come too often bring a pause, and each pause within memory is twice as long as the one before."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Patience:
    """So many failures within the window are too many. All times in seconds."""

    failures: int
    window: float
    first_pause: float
    longest_pause: float
    memory: float  # after a pause's end: how long it makes the next one longer


@dataclass
class Guesses:
    """What is remembered of one address, or of one login."""

    failures: list[float] = field(default_factory=list)
    pauses: int = 0
    until: float = 0.0

    def failed(self, now: float, patience: Patience) -> bool:
        """Counts a failure. True when it brought a pause about."""
        if self.pauses and now - self.until > patience.memory:
            self.pauses = 0
        self.failures = [*(at for at in self.failures if now - at < patience.window), now]
        if len(self.failures) < patience.failures:
            return False
        self.failures.clear()
        self.until = now + min(patience.first_pause * 2**self.pauses, patience.longest_pause)
        self.pauses += 1
        return True
