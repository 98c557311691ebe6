"""Addresses that guess: after some failures they are turned away for a while, then for longer.

A failure is a row of the error contract that counts to a ban (a wrong password, an unknown login, a foreign address).
An outage of ours never counts. Only failures are remembered, and only so many: a stranger cannot grow this.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from teletrunk_worker.policy.penalty import Failures, PenaltyPolicy
from teletrunk_worker.sip.transport.flow import network_of

FAILURES: Final = 5
WINDOW_S: Final = 600.0
FIRST_BAN_S: Final = 1_800.0
LONGEST_BAN_S: Final = 86_400.0
_MEMORY_S = 7 * 86_400.0  # how long a ban makes the next one longer
_POLICY = PenaltyPolicy(FAILURES, WINDOW_S, FIRST_BAN_S, LONGEST_BAN_S, _MEMORY_S)
_MOST_ADDRESSES = 50_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class _Suspect(Failures):
    confirmed: bool = False  # the Manager has it; when it forgets, the ban was lifted
    tried: set[str] = field(default_factory=set)  # the logins that the bans in force were brought about with


class Bans:
    """Per source address; `trusted` networks are never banned."""

    def __init__(self, trusted: tuple[Network, ...] = (), clock: Callable[[], float] = time.time) -> None:
        self._trusted = trusted
        self._clock = clock
        self._suspects: OrderedDict[str, _Suspect] = OrderedDict()

    def seconds_left(self, address: str) -> int:
        """0 when the address is not banned."""
        if self.is_trusted(address):
            return 0
        suspect = self._suspects.get(network_of(address))
        return max(0, round(suspect.until - self._clock())) if suspect else 0

    def failed(self, address: str, login: str) -> bool:
        """Counts a failure at this login. True when it brought a ban about."""
        if self.is_trusted(address):
            return False
        now, key = self._clock(), network_of(address)
        suspect = self._suspects.setdefault(key, _Suspect())
        self._suspects.move_to_end(key)
        if len(self._suspects) > _MOST_ADDRESSES:
            self._suspects.popitem(last=False)
        if suspect.until <= now:
            suspect.tried.clear()
        tried = {known for _, known in suspect.recent} | {login}
        if not suspect.add(now, login, _POLICY):
            return False
        suspect.tried |= tried
        suspect.confirmed = False
        return True

    def was_tried(self, address: str, login: str) -> bool:
        """Whether the ban of the address is one for guesses at this login."""
        suspect = self._suspects.get(network_of(address))
        return suspect is not None and login in suspect.tried

    def pending(self) -> list[tuple[str, float, int]]:
        """Network, end (Unix time) and count of the bans that the Manager does not know yet."""
        now = self._clock()
        return [
            (key, suspect.until, suspect.pauses)
            for key, suspect in self._suspects.items()
            if suspect.until > now and not suspect.confirmed
        ]

    def sync_from_manager(self, bans: Iterable[tuple[str, float, int]]) -> None:
        """All bans that are in force everywhere. One of ours that is not among them any more was lifted."""
        known = {network: (until, times) for network, until, times in bans}
        for key in [key for key, suspect in self._suspects.items() if suspect.confirmed and key not in known]:
            if self._suspects[key].until > self._clock():
                del self._suspects[key]
        for network, (until, times) in known.items():
            if not self.is_trusted(network):
                suspect = self._suspects.setdefault(network, _Suspect())
                suspect.until = max(suspect.until, until)
                suspect.pauses, suspect.confirmed = max(suspect.pauses, times), True

    def succeeded(self, address: str, login: str) -> None:
        """Somebody behind this address knows this login's password: the failures with it were typing.

        Those with others count on: who has a trunk of their own has no right to guess at their neighbours'.
        """
        if suspect := self._suspects.get(network_of(address)):
            suspect.forgive(login)

    def banned(self) -> dict[str, int]:
        """The banned addresses and the seconds that are left of each."""
        left = {key: round(suspect.until - self._clock()) for key, suspect in self._suspects.items()}
        return {key: seconds for key, seconds in left.items() if seconds > 0}

    def lift(self, address: str) -> bool:
        """Forgets an address (or a network as `banned` shows it). False when it was not known."""
        return (
            self._suspects.pop(address, None) is not None or self._suspects.pop(network_of(address), None) is not None
        )

    def is_trusted(self, address: str) -> bool:
        """Never banned, and never made to wait: an address, or a network that lies within what is trusted."""
        if not self._trusted:
            return False
        try:
            source = ipaddress.ip_network(address.partition("%")[0])
        except ValueError:
            return False
        return any(_is_within(source, network) for network in self._trusted)


def _is_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)
