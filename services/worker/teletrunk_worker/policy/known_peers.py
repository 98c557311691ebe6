"""Addresses that have shown a password, and of which login: the opposite of strangers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from teletrunk_worker.sip.transport.flow import network_of

MOST_LOGINS: Final = 20_000
MOST_HOMES: Final = 16  # addresses of one login


class KnownPeers:
    """The latest of them: a stranger cannot grow this, since each needs a password."""

    def __init__(self, is_trusted: Callable[[str], bool] = lambda address: False) -> None:
        """`is_trusted` says of which addresses the operator has said that they are none."""
        self._is_trusted = is_trusted
        self._homes: OrderedDict[str, list[str]] = OrderedDict()  # by login, the latest last
        self._networks: Counter[str] = Counter()
        self._md5: OrderedDict[str, None] = OrderedDict()  # addresses whose latest right answer was made with it

    def note(self, login: str, address: str) -> None:
        """The login's password came from there."""
        homes = self._homes.setdefault(login, [])
        self._homes.move_to_end(login)
        if address in homes:
            homes.remove(address)
        else:
            self._networks[network_of(address)] += 1
        homes.append(address)
        if len(homes) > MOST_HOMES:
            self._forget(homes.pop(0))
        if len(self._homes) > MOST_LOGINS:
            for left in self._homes.popitem(last=False)[1]:
                self._forget(left)

    def note_algorithm(self, address: str, algorithm: str) -> None:
        """What a right answer from there was made with, though the client may have had the choice.

        A PBX passes on what its phones send: by its own answers alone it shows what it can bear.
        """
        self._md5.pop(address, None)
        if algorithm.upper() == "MD5":
            self._md5[address] = None
            if len(self._md5) > MOST_LOGINS:
                self._md5.popitem(last=False)

    def answers_md5(self, address: str) -> bool:
        return address in self._md5

    def is_home(self, login: str, address: str) -> bool:
        return address in self._homes.get(login, ())

    def knows(self, address: str) -> bool:
        """Whether any login is at home there."""
        return network_of(address) in self._networks or self._is_trusted(address)

    def _forget(self, address: str) -> None:
        network = network_of(address)
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
