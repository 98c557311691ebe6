"""Two administrators' trunks that an INVITE without a digest could be of: it is of neither.

The Manager sees to it that none are known by one address, but names lead where their owner lets them lead. The PBX that
the address is of then has to show a password, and the log says why: that is seen, and a stolen call is not.
"""

from __future__ import annotations

import structlog

from teletrunk_worker.trunks.pbx import Pbx

log = structlog.get_logger()

_MOST_TOLD = 1_000


class Disputes:
    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def note(self, found: Pbx, rival: Pbx) -> None:
        """A call that comes from where both may be; a registration of ours is told from others by whom it names."""
        pair = found.trunk.login, rival.trunk.login
        if pair not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(pair)
            log.warning("two administrators' trunks are known by one address: it is asked for a password", logins=pair)
