"""How long Telegram does not want to be asked something: FLOOD_WAIT and PEER_FLOOD, for the method that earned them.

What Telegram said holds for the account, whoever asks next: it is kept in the vault, and read when a session begins.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

from teletrunk.errors import Refusal

from teletrunk_session_store.vault.store import Vault, best_effort


class FloodWaits:
    """One account's."""

    def __init__(self, vault: Vault, session_id: str) -> None:
        self._vault = vault
        self._session_id = session_id
        self._until: dict[str, float] = {}

    async def load(self) -> None:
        """Raises what the vault raises."""
        for method, until in (await self._vault.flood_waits(self._session_id)).items():
            self._until[method] = max(until, self._until.get(method, 0.0))

    def check(self, method: str) -> None:
        """Raises `Refusal` while Telegram does not want to be asked this, with the seconds that are left."""
        if (left := math.ceil(self._until.get(method, 0.0) - time.time())) > 0:
            raise Refusal("flood-wait", retry_after=left)

    async def note(self, method: str, seconds: int) -> None:
        """Of two waits the longer one counts. It holds from now on, and is kept."""
        until = self._until[method] = max(time.time() + seconds, self._until.get(method, 0.0))
        async with best_effort():
            await self._vault.note_flood(self._session_id, method, until)

    async def forget(self) -> None:
        """Somebody wants Telegram to be asked all the same. Raises what the vault raises."""
        await self._vault.forget_floods(self._session_id)
        self._until.clear()

    def told(self) -> str:
        """What there is to say of them; empty when there are none."""
        return "; ".join(
            f"Telegram wants no {method} before {datetime.fromtimestamp(math.ceil(until), UTC):%Y-%m-%d %H:%M:%S} UTC"
            for method, until in sorted(self._until.items())
            if until > time.time()
        )
