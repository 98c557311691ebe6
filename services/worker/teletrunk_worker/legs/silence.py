"""Notices a phone that is gone without a word: no BYE comes, and no sound either."""

from __future__ import annotations

LONGEST_S = 60.0  # many PBXs send nothing for seconds, none does so for a minute without having put the call on hold


class Silence:
    """Watches one call's count of received RTP packets, from its answer on. Seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._received = 0
        self._heard_at = now

    def too_long(self, received: int, now: float, *, promised: bool) -> bool:
        """`promised`: whether the phone has said, in its description, that it sends."""
        if not promised or received != self._received:
            self._received, self._heard_at = received, now
        return self.seconds(now) > LONGEST_S

    def seconds(self, now: float) -> float:
        """How long nothing has come, as of what was last told."""
        return now - self._heard_at
