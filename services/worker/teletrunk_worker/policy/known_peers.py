"""Addresses that have shown a password of late, and of which login: the opposite of strangers."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from teletrunk_worker.sip.transport.flow import network_of

MOST_HOMES: Final = 16  # addresses of one login
MOST_IN_ALL: Final = 50_000
LIFETIME_S: Final = 7 * 86_400.0  # without a password: the address may be somebody else's by then


class KnownPeers:
    """The latest of them: a stranger cannot grow this, since each needs a password."""

    def __init__(
        self, is_trusted: Callable[[str], bool] = lambda address: False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`is_trusted` says of which addresses the operator has said that they are none."""
        self._is_trusted = is_trusted
        self._clock = clock
        self._shown_at: OrderedDict[tuple[str, str], float] = OrderedDict()  # by login and address, the latest last
        self._homes: dict[str, list[str]] = {}  # by login, the latest last
        self._networks: Counter[str] = Counter()
        self._md5: OrderedDict[str, float] = OrderedDict()  # addresses whose latest right answer was made with it

    def note(self, login: str, address: str) -> None:
        """The login's password came from there, or the operator has said that its PBX is there."""
        self._forget(login, address)
        homes = self._homes.setdefault(login, [])
        if len(homes) >= MOST_HOMES:
            self._forget(login, homes[0])
        homes.append(address)
        self._networks[network_of(address)] += 1
        self._shown_at[login, address] = self._clock()
        self._forget_old()

    def note_algorithm(self, address: str, algorithm: str) -> None:
        """What a right answer from there was made with, though the client may have had the choice.

        A PBX passes on what its phones send: by its own answers alone it shows what it can bear.
        """
        self._md5.pop(address, None)
        if algorithm.upper() == "MD5":
            self._md5[address] = self._clock()
            if len(self._md5) > MOST_IN_ALL:
                self._md5.popitem(last=False)

    def answers_md5(self, address: str) -> bool:
        return self._clock() - self._md5.get(address, -math.inf) < LIFETIME_S

    def is_home(self, login: str, address: str) -> bool:
        self._forget_old()
        return (login, address) in self._shown_at

    def knows(self, address: str) -> bool:
        """Whether any login is at home there."""
        self._forget_old()
        return network_of(address) in self._networks or self._is_trusted(address)

    def _forget_old(self) -> None:
        """From the oldest on: what is asked for costs nothing while there is none to forget."""
        latest = self._clock() - LIFETIME_S
        while self._shown_at:
            oldest = next(iter(self._shown_at))
            if self._shown_at[oldest] > latest and len(self._shown_at) <= MOST_IN_ALL:
                return
            self._forget(*oldest)

    def _forget(self, login: str, address: str) -> None:
        if self._shown_at.pop((login, address), None) is None:
            return
        homes = self._homes[login]
        homes.remove(address)
        if not homes:
            del self._homes[login]
        network = network_of(address)
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
