"""The right to run one session: Telegram destroys an auth key that it sees in two places.

A lease is taken in the vault, renewed every few seconds, and taken over by another Storage only after its end. Three
things make that safe. Telegram is told to close our connection when we are silent for `SILENCE_S`, which is less than
what a lease lasts: a Storage that is stopped or cut off has no connection any more when another takes over. No
connection is made without renewing first: a Storage that wakes up finds its lease gone before it speaks. And a Storage
that cannot reach the vault stops its client before the lease has run out, whatever it is doing then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from teletrunk_session_store.telegram.renewals import Renewals
from teletrunk_session_store.vault.store import DEADLINE_S, FAILURES, Vault, best_effort

log = structlog.get_logger()

LEASE_S: Final = 20.0
RENEW_S: Final = 4.0
SILENCE_S: Final = 12  # whole seconds, in ping_delay_disconnect
_RETRY_S = 1.0
_LAST_WORDS_S = 1.0
_SAFETY_S = 5.0


class LeaseLost(Exception):
    """Another Storage has the session, or may have it soon."""


class Lease:
    """One Storage's side of it."""

    def __init__(self, vault: Vault, session_id: str, owner: str, renewals: Renewals) -> None:
        """`renewals` are the same owner's."""
        self._vault = vault
        self._renewals = renewals
        self._session_id = session_id
        self._owner = owner
        self._fence = 0
        self._released = False
        self._safe_until = 0.0

    async def take(self) -> bool:
        """Whether the session may be run from now on."""
        self._released = False
        began = _now()
        fence = await self._taken()
        if not fence:
            return False
        self._fence = fence
        self._safe_until = began + LEASE_S - _SAFETY_S
        return True

    async def hold(self, work: Coroutine[Any, Any, None]) -> None:
        """Does `work` for as long as the lease is kept, and renews it meanwhile. Raises what `work` raises.

        Raises `LeaseLost` when it is gone, or `_SAFETY_S` before it may be; `work` has been cancelled then.
        """
        working = asyncio.ensure_future(work)
        try:
            period = RENEW_S
            while not await _done(working, min(_until_beat(period), self._left)):
                kept, answered = await self._renewed_in_time()
                if not kept:
                    raise LeaseLost
                period = RENEW_S if answered else _RETRY_S
            working.result()
        finally:
            working.cancel()
            await _done(working, _LAST_WORDS_S)

    async def _renewed_in_time(self) -> tuple[bool, bool]:
        """Leaves no renewal behind, which would come after the release."""
        renewing = asyncio.ensure_future(self._renewed())
        try:
            if not await _done(renewing, self._left):
                raise LeaseLost
            return renewing.result()
        finally:
            renewing.cancel()
            await _done(renewing, _LAST_WORDS_S)

    @property
    def _left(self) -> float:
        return max(0.0, self._safe_until - _now())

    async def renew(self) -> bool:
        """Whether the session may still be run. A vault that does not answer is borne for a while."""
        return (await self._renewed())[0]

    async def _renewed(self) -> tuple[bool, bool]:
        """Whether it may still be run, and whether the vault has answered."""
        if self._released:
            return False, True
        began = _now()
        fence = await self._renewals.ask(self._session_id)
        if fence is None:
            return self._left > 0, False
        if fence != self._fence:  # somebody else had it meanwhile
            self._safe_until = 0.0
            return False, True
        self._safe_until = began + LEASE_S - _SAFETY_S
        return True, True

    async def release(self) -> None:
        self._released = True
        await self._renewals.withdraw(self._session_id)
        async with best_effort():  # leaving: one that runs out serves as well
            await self._vault.release_lease(self._session_id, self._owner)

    async def _taken(self) -> int | None:
        """The fencing number; 0 when another has the lease, None when the vault does not answer."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._vault.take_lease(self._session_id, self._owner, LEASE_S) or 0
        except FAILURES as error:
            log.warning("vault does not answer", session=self._session_id, error=type(error).__name__)
            return None


def _until_beat(period: float) -> float:
    """All leases are renewed at the same times, so that they are renewed together."""
    return period - _now() % period


def _now() -> float:
    """Of a clock that goes on while the machine is suspended: other Storages do not sleep with it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _done(task: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it ends in time. Never waits longer, not even for a task that takes its time to be cancelled."""
    return bool((await asyncio.wait({task}, timeout=seconds))[0])
