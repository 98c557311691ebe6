"""Who may call an account, as Telegram says: asked once a minute, however often people look from afar."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from teletrunk.v1 import call_pb2
from teletrunk.v1 import session_store_pb2 as store

from teletrunk_manager.db.tables import Account
from teletrunk_manager.live import Live
from teletrunk_manager.storages import DEADLINE_S, Storages

_KEPT_S = 60.0
_MOST = 20_000


@dataclass
class _Known:
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    word: call_pb2.CallAudience.ValueType = call_pb2.CALL_AUDIENCE_UNSPECIFIED
    until: float = 0.0  # by the monotonic clock


class Audiences:
    def __init__(self, live: Live, storages: Storages) -> None:
        self._live = live
        self._storages = storages
        self._known: OrderedDict[str, _Known] = OrderedDict()  # by session

    async def of(self, account: Account, *, afresh: bool) -> call_pb2.CallAudience.ValueType:
        """As of the last minute, or now. Raises what the Storage answers, which is not kept."""
        known = self._known.setdefault(account.session_id, _Known())
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        async with known.asking:  # whoever comes meanwhile shares the answer
            if afresh or time.monotonic() >= known.until:
                known.word, known.until = await self._asked(account), time.monotonic() + _KEPT_S
        return known.word

    async def _asked(self, account: Account) -> call_pb2.CallAudience.ValueType:
        place = self._live.place(account.session_id, account.storage_id)
        question = store.GetCallAudienceRequest(session_id=account.session_id)
        async with self._storages.dial(place.service_id if place else account.storage_id) as storage:
            answer: store.GetCallAudienceResponse = await storage.GetCallAudience(question, timeout=DEADLINE_S)
        return answer.audience
