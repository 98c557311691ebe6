"""The phone call at Telegram: one stream to the Storage that holds the session."""

from __future__ import annotations

import asyncio

from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.call import events as on
from teletrunk_worker.call.inbox import Put
from teletrunk_worker.call.record import telegram_name
from teletrunk_worker.call.surroundings import CallContext, Storages

_REASONS = {
    "missed": pb.DISCARD_REASON_MISSED,
    "busy": pb.DISCARD_REASON_BUSY,
    "hangup": pb.DISCARD_REASON_HANGUP,
    "disconnect": pb.DISCARD_REASON_DISCONNECT,
}
_WORDS = {number: word for word, number in _REASONS.items()}


class StorageSignalling:
    """Begins the call, or takes one that waits, and follows it to its end."""

    def __init__(
        self,
        context: CallContext,
        storages: Storages,
        session: manager_pb2.SessionAssignment,
        begin: pb.StartCall | pb.TakeCall,
        put: Put,
    ) -> None:
        self._context = context
        self._put = put
        self._over = False
        self._starts = isinstance(begin, pb.StartCall)
        self._known = not self._starts  # whether there is a call at Telegram
        self.taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._stream = storages.call(session)
        self._stream.ask(**{"start" if self._starts else "take": begin})
        context.recorder.step("worker", "storage", type(begin).__name__)
        self._following = context.tasks.run(self._follow())

    # What the runner wants.

    def accept(self) -> None:
        self._ask(accept=pb.AcceptCall(trunk_id=self._context.recorder.record.trunk_id))

    def signal(self, data: bytes) -> None:
        self._ask(signalling=pb.SignallingData(data=data))

    def _ask(self, **wish: object) -> None:
        if not self._over:
            self._stream.ask(**wish)

    def discard(self, reason: str) -> None:
        if self._over:
            self._put(on.TelegramEnded(reason))
            return
        self._context.recorder.step("worker", "storage", f"discard {reason}")
        duration = self._context.recorder.talk_seconds
        self._ask(discard=pb.DiscardCall(reason=_REASONS[reason], duration=duration))

    def release(self) -> None:
        self._over = True
        self._stream.close()
        self._following.cancel()

    # What the Storage says.

    async def _follow(self) -> None:
        lost = Refusal("storage-unreachable")
        try:
            async for response in self._stream.events():
                self._on_storage(response)
        except Refusal as refusal:
            lost = refusal
        finally:
            was_over, self._over = self._over, True
            self._stream.close()
            self._note_taken(False)
        if was_over:
            return
        if self._known:
            self._put(on.TelegramLost(lost))
        else:
            self._context.recorder.step("storage", "worker", lost.phrase)
            self._put(on.NotStarted(lost))

    def _on_storage(self, response: pb.CallResponse) -> None:
        recorder = self._context.recorder
        match response.WhichOneof("kind"):
            case "step":
                recorder.add_step(response.step)
            case "requested":
                self._known = True
                self._note_taken(True)
                if self._starts:  # of a call from Telegram, the peer is who calls
                    recorder.record.called = recorder.record.called or telegram_name(response.requested.peer)
            case "ringing":
                recorder.step("storage", "worker", "ringing")
                self._put(on.TelegramRinging())
            case "ready":
                recorder.step("storage", "worker", "ready: key and servers")
                recorder.record.media.telegram_library_version = ",".join(response.ready.library_versions)
                self._put(on.TelegramReady(response.ready))
            case "signalling":
                self._put(on.SignalForMedia(response.signalling.data))
            case "discarded":
                self._over = True
                reason = _WORDS.get(response.discarded.reason, "hangup")
                recorder.record.telegram_reason = reason
                self._put(on.TelegramEnded(reason))

    def _note_taken(self, taken: bool) -> None:
        if not self.taken.done():
            self.taken.set_result(taken)
