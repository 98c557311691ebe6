"""What addresses that have shown no password may cost: messages, bytes of answers, lines of the log.

A datagram may bear anybody's address. So nobody is banned here, and what an address draws is bounded by what it
sends: whoever is flooded in our name gets no more than the flooder spends.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from teletrunk_worker.policy.known_peers import KnownPeers
from teletrunk_worker.sip.transport.flow import network_of

MESSAGES_A_SECOND: Final = 100.0  # of one address
MESSAGES_AT_ONCE: Final = 500.0
ALL_MESSAGES_A_SECOND: Final = 1_000.0
INSISTING_A_SECOND: Final = 300.0  # in all, of those who can show that they are where they say
_INSISTING_EACH_A_SECOND = 20.0
KNOWN_MESSAGES_A_SECOND: Final = 2_000.0  # of one address where a password was shown: a busy PBX, and no more
_LONG_ANSWERS_A_SECOND, _LONG_ANSWERS_AT_ONCE = 50.0, 500.0  # of more than GAIN, to one such address
GAIN: Final = 2  # bytes of an answer for each that was asked
_LARGEST_FIRST_ANSWER = 1_500
_FREE_ANSWER_EVERY_S = 60.0
_LINES_A_SECOND = 0.2  # of the log, on behalf of one address
_LINES_AT_ONCE = 10.0
_ALL_LINES_A_SECOND = 10.0
_MOST_ADDRESSES = 20_000


@dataclass(slots=True)
class _Bucket:
    """A token bucket."""

    rate: float  # a second
    most: float
    level: float
    at: float

    def take(self, now: float) -> bool:
        self.level = min(self.most, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class _Buckets:
    """One bucket an address, and one for all of them. The address that was heard longest ago makes room."""

    def __init__(self, rate: float, most: float, all_rate: float, now: float) -> None:
        self._rate, self._most = rate, most
        self._of: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(all_rate, all_rate, all_rate, now)

    def take(self, network: str, now: float) -> bool:
        bucket = self._of.get(network)
        if bucket is None:
            bucket = self._of[network] = _Bucket(self._rate, self._most, self._most, now)
            if len(self._of) > _MOST_ADDRESSES:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(network)
        return bucket.take(now) and self._all.take(now)


class Strangers:
    def __init__(self, known: KnownPeers, clock: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        now = clock()
        # TCP cannot be spoofed: who floods by UDP in others' names takes nothing from those who come by TCP.
        self._messages = {
            transport: _Buckets(MESSAGES_A_SECOND, MESSAGES_AT_ONCE, ALL_MESSAGES_A_SECOND, now)
            for transport in ("UDP", "TCP", "TLS")
        }
        self._messages_of_known = _Buckets(KNOWN_MESSAGES_A_SECOND, KNOWN_MESSAGES_A_SECOND, math.inf, now)
        self._long_answers = _Buckets(_LONG_ANSWERS_A_SECOND, _LONG_ANSWERS_AT_ONCE, math.inf, now)
        self._lines = _Buckets(_LINES_A_SECOND, _LINES_AT_ONCE, _ALL_LINES_A_SECOND, now)
        self._insisting = _Buckets(_INSISTING_EACH_A_SECOND, INSISTING_A_SECOND / 4, INSISTING_A_SECOND, now)
        self._free_answers: OrderedDict[str, float] = OrderedDict()

    def may_speak(self, address: str, transport: str = "UDP") -> bool:
        """Whether a message is worth the reading. Known peers have a budget, too: it may be spoofed in their name."""
        buckets = self._messages_of_known if self._known.knows(address) else self._messages[transport]
        return buckets.take(network_of(address), self._clock())

    def may_insist(self, address: str) -> bool:
        """Whether one is read beyond that budget all the same, of a sender who has certainly heard us."""
        return self._insisting.take(network_of(address), self._clock())

    def may_log(self, address: str) -> bool:
        """Whether a line about something that the address has done is written."""
        return self._lines.take(network_of(address), self._clock())

    def may_hear(self, address: str, asked: int, answer: int) -> bool:
        """Whether so many bytes are sent in answer to so many that may have been spoofed."""
        if answer <= GAIN * asked:
            return True
        if self._known.knows(address):
            return self._long_answers.take(network_of(address), self._clock())
        return answer <= _LARGEST_FIRST_ANSWER and self._takes_free_answer(network_of(address))

    def _takes_free_answer(self, network: str) -> bool:
        now = self._clock()
        if now - self._free_answers.get(network, -_FREE_ANSWER_EVERY_S) < _FREE_ANSWER_EVERY_S:
            return False
        self._free_answers[network] = now
        self._free_answers.move_to_end(network)
        if len(self._free_answers) > _MOST_ADDRESSES:
            self._free_answers.popitem(last=False)
        return True
