"""All leases that a Storage renews at one time are one question to the vault, however many sessions it has."""

from __future__ import annotations

import asyncio
import time

import structlog
from teletrunk.background import BackgroundTasks

from teletrunk_session_store.vault.store import DEADLINE_S, FAILURES, Vault

log = structlog.get_logger()

_GATHER_S = 0.02
_LONGEST_GATHER_S = 0.5


class Renewals:
    """Of one owner. Leases renew in one beat (see `lease`), so they come here together."""

    def __init__(self, vault: Vault, owner: str, seconds: float) -> None:
        self._vault = vault
        self._owner = owner
        self._seconds = seconds
        self._waiting: dict[str, asyncio.Future[int | None]] = {}
        self._asked: dict[str, asyncio.Future[int | None]] = {}
        self._tasks = BackgroundTasks()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, session_id: str) -> int | None:
        """The fencing number; 0 when the lease is another's or nobody's, None when the vault does not answer."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.setdefault(session_id, loop.create_future())
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.run(self._ask())
        return await asyncio.shield(answer)

    async def withdraw(self, session_id: str) -> None:
        """From here on, nothing renews this lease any more."""
        if waiting := self._waiting.pop(session_id, None):
            waiting.set_result(0)
        if asked := self._asked.get(session_id):
            await asyncio.wait({asked})

    async def _ask(self) -> None:
        while self._waiting:
            await self._gathered()
            self._asked, self._waiting = self._waiting, {}
            fences: dict[str, int] | None = None
            try:
                fences = await self._renewed(list(self._asked))
            finally:
                asked, self._asked = self._asked, {}
                for session_id, answer in asked.items():
                    answer.set_result(None if fences is None else fences.get(session_id, 0))

    async def _gathered(self) -> None:
        """Returns when no more come, or soon anyway: thousands do not wake up in one moment."""
        until = time.monotonic() + _LONGEST_GATHER_S
        known = 0
        while known < len(self._waiting) and time.monotonic() < until:
            known = len(self._waiting)
            await asyncio.sleep(_GATHER_S)

    async def _renewed(self, session_ids: list[str]) -> dict[str, int] | None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._vault.renew_leases(session_ids, self._owner, self._seconds)
        except FAILURES as error:
            log.warning("vault does not answer", leases=len(session_ids), error=type(error).__name__)
            return None
