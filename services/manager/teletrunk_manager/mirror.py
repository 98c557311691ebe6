"""Keeps what this Manager knows of the others' services up to date, and theirs of ours.

Questions are answered from this memory, so that a shared state that is away stops nothing: what was known last goes on
to count until it can be asked again.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from teletrunk.metrics import SHARED_STATE

from teletrunk_manager.configurations import Configurations
from teletrunk_manager.live import Live
from teletrunk_manager.state import OutOfReach, SharedState

log = structlog.get_logger()

_LOOK_S = 2.0  # announcements tell sooner; one that was lost costs no more than this


class Mirror:
    def __init__(self, state: SharedState, live: Live, configurations: Configurations) -> None:
        self._state = state
        self._live = live
        self._configurations = configurations
        self._away = False

    async def keep_looking(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def keep_listening(self) -> None:
        """Runs until cancelled."""
        async for _ in self._state.changes():
            await self.look()
            self._configurations.heard()

    async def look(self) -> None:
        try:
            records = await self._state.services()
        except OutOfReach as error:
            self._lost(error)
            return
        SHARED_STATE.set(1)
        if self._away:
            self._away = False
            log.info("shared state is back")
            await self._show_ours()
        if self._live.see(records, time.monotonic()):
            self._configurations.heard()

    async def _show_ours(self) -> None:
        """A Redis that comes back may have forgotten everything."""
        try:
            for service in self._live.here():
                if not await self._state.show_service(service.service_id, service.holder, service.record()):
                    service.close()
        except OutOfReach as error:
            self._lost(error)

    def _lost(self, error: OutOfReach) -> None:
        SHARED_STATE.set(0)
        if not self._away:
            self._away = True
            log.error("shared state is away: what was known last is used", error=str(error))
