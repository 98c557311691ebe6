"""Logins that are guessed at from many addresses, too few times from each to ban one: they rest for a while.

While a login rests, only addresses that have shown its password before are heard; the PBX that uses it notices
nothing. Unknown logins are treated alike, so that resting tells a stranger nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from teletrunk_worker.policy.known_peers import KnownPeers
from teletrunk_worker.policy.penalty import Failures, PenaltyPolicy

FAILURES: Final = 20
WINDOW_S: Final = 600.0
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3_600.0
_POLICY = PenaltyPolicy(FAILURES, WINDOW_S, FIRST_REST_S, LONGEST_REST_S, WINDOW_S)
_MOST_LOGINS = 20_000


class LoginLockout:
    """Per login, whatever address the guesses come from."""

    def __init__(self, known: KnownPeers, clock: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        self._guessed: OrderedDict[str, Failures] = OrderedDict()

    def seconds_left(self, login: str, address: str) -> int:
        """0 when the address may try the login."""
        guessed = self._guessed.get(login)
        if guessed is None or self._known.is_home(login, address):
            return 0
        return max(0, round(guessed.until - self._clock()))

    def failed(self, login: str) -> None:
        """Counts a guess."""
        guessed = self._guessed.setdefault(login, Failures())
        self._guessed.move_to_end(login)
        if len(self._guessed) > _MOST_LOGINS:
            self._guessed.popitem(last=False)
        guessed.add(self._clock(), login, _POLICY)
