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
from teletrunk_manager.state import Holding, OutOfReach, SharedState

log = structlog.get_logger()

_LOOK_S = 2.0  # announcements tell sooner; one that was lost costs no more than this


class Mirror:
    def __init__(self, state: SharedState, live: Live, configurations: Configurations) -> None:
        self._state = state
        self._live = live
        self._configurations = configurations
        self._away = False
        self._looking = asyncio.Lock()

    async def keep_looking(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._keep_ours()
            except OutOfReach as error:
                self._lost(error)
            else:
                await self.look()
            await asyncio.sleep(_LOOK_S)

    async def keep_listening(self) -> None:
        """Runs until cancelled."""
        async for stored in self._state.changes():
            await self.look()
            self._configurations.heard(stored=stored)

    async def look(self) -> None:
        try:
            async with self._looking:  # what is read is read once
                moved = await self._look()
        except OutOfReach as error:
            self._lost(error)
            return
        SHARED_STATE.set(1)
        if self._away:
            self._away = False
            log.info("shared state is back")
        if moved:
            self._configurations.heard(stored=False)

    async def _look(self) -> bool:
        marks, moved = await self._state.services(), False
        for service_id, known in self._live.unheard(marks).items():
            if telling := await self._state.service(service_id, known):
                moved |= self._live.hear(service_id, telling, time.monotonic())
        return self._live.see(marks, time.monotonic()) or moved

    async def _keep_ours(self) -> None:
        """All at once: what it costs is a matter of the processes, and not of what they have said."""
        ours = {service.service_id: service for service in self._live.here()}
        holdings = [Holding(service.service_id, service.holder, service.seen_at) for service in ours.values()]
        gone, forgotten = await self._state.keep_services(holdings)
        for service_id in gone:
            log.info("service has gone to another manager", id=service_id)
            ours[service_id].close()
        for service in (ours[service_id] for service_id in forgotten):  # a Redis that comes back may know nothing
            if not await self._state.show_service(service.service_id, service.holder, b"", service.record):
                service.close()
            await self._state.keep_lines(service.lines)
        await self._state.renew_lines(line for service in ours.values() for line in service.lines)

    def _lost(self, error: OutOfReach) -> None:
        SHARED_STATE.set(0)
        if not self._away:
            self._away = True
            log.error("shared state is away: what was known last is used", error=str(error))
