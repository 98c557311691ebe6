"""Trunks that an INVITE without a digest could be of alike: the log names them.

Of two administrators' it is of neither. The Manager sees to it that none are known by one address, but names lead where
their owner lets them lead. The PBX that the address is of then has to show a password: that is seen, and a stolen call
is not. Of one administrator's it is the first one's; he may have meant another.
"""

from __future__ import annotations

import structlog

from teletrunk_worker.trunks.pbx import Pbx

log = structlog.get_logger()

_MOST_TOLD = 1_000


class Disputes:
    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def of_two_administrators(self, found: Pbx, rival: Pbx) -> None:
        """A call that comes from where both may be; a registration of ours is told from others by whom it names."""
        if self._is_new(pair := (found.trunk.login, rival.trunk.login)):
            log.warning("two administrators' trunks are known by one address: it is asked for a password", logins=pair)

    def of_one_administrator(self, found: Pbx, rival: Pbx) -> None:
        """A call that is taken for the first one's."""
        if self._is_new(pair := (found.trunk.login, rival.trunk.login)):
            log.warning("two trunks are known by one address: its calls are the first one's; a header of each "
                        "(--pbx-header) would tell them apart", logins=pair)  # fmt: skip

    def _is_new(self, pair: tuple[str, str]) -> bool:
        if pair in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(pair)
        return True
