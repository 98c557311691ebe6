"""The timers of RFC 3261 table 4, in seconds."""

from __future__ import annotations

from typing import Final

T1_S: Final = 0.5  # a round trip
T2_S: Final = 4.0  # the longest interval of repetitions
TRANSACTION_S: Final = 64 * T1_S  # timers B, F, H and J: the life of a transaction
TIMER_C_S: Final = 190.0  # longer than three minutes: the longest that a phone rings
