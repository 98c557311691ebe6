"""Failures that come too often bring a pause, and each pause within memory is twice as long as the one before."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_DOUBLINGS = 32  # the count may be somebody else's word


@dataclass(frozen=True)
class PenaltyPolicy:
    """So many failures within the window are too many. All times in seconds."""

    failures: int
    window: float
    first_pause: float
    longest_pause: float
    memory: float  # after a pause's end: how long it makes the next one longer


@dataclass
class Failures:
    """What is remembered of one address, or of one login. Each failure has its time and the login that was tried."""

    recent: list[tuple[float, str]] = field(default_factory=list)
    pauses: int = 0
    until: float = 0.0

    def add(self, now: float, login: str, policy: PenaltyPolicy) -> bool:
        """Counts a failure. True when it brought a pause about."""
        if self.pauses and now - self.until > policy.memory:
            self.pauses = 0
        self.recent = [*(known for known in self.recent if now - known[0] < policy.window), (now, login)]
        if len(self.recent) < policy.failures:
            return False
        self.recent.clear()
        self.until = now + min(policy.first_pause * 2 ** min(self.pauses, _MOST_DOUBLINGS), policy.longest_pause)
        self.pauses += 1
        return True

    def forgive(self, login: str) -> None:
        """The login's password was shown: failures with it were typing."""
        self.recent = [known for known in self.recent if known[1] != login]
