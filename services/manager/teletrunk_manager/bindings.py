"""Where a trunk's PBXs are registered. The Workers that hold its bindings are asked when somebody looks at it:
each REGISTER changes when one ends, and nobody wants to be told."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.live import Live, Seen
from teletrunk_manager.streams import Streams

_ANSWER_S: Final = 2.0
_MOST_BYTES: Final = 16_000  # eight bindings of a Worker that keeps to what it may say


class Bindings:
    def __init__(self, live: Live, streams: Streams) -> None:
        self._live = live
        self._streams = streams
        self._waiting: dict[str, asyncio.Future[list[pb.Binding]]] = {}  # by question
        streams.on_bindings = self._take

    async def of(self, trunk_id: str) -> list[pb.Binding]:
        """Without those of a Worker that does not answer: an older one, or one that is busy or has just gone."""
        workers = [
            worker
            for worker in self._live.of_kind("worker")
            if worker.heartbeat.tells_bindings and worker.is_registered(trunk_id)
        ]
        answers = await asyncio.gather(*(self._asked(worker, trunk_id) for worker in workers))
        return [binding for answer in answers for binding in answer]

    async def told(self, worker_id: str, answer: pb.BindingsAnswer) -> None:
        """A Worker of ours has answered, us or another Manager."""
        if answer.ByteSize() > _MOST_BYTES:
            return
        for binding in answer.bindings:
            binding.worker_id = worker_id  # and not whom it names
        if answer.question_id in self._waiting:
            self._take(answer)
        else:
            await self._streams.pass_on(answer)

    async def _asked(self, worker: Seen, trunk_id: str) -> list[pb.Binding]:
        question = pb.BindingsQuestion(question_id=secrets.token_hex(8), trunk_id=trunk_id)
        answer = self._waiting[question.question_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_ANSWER_S):
                heard = await self._streams.hand(worker.service_id, pb.AttachResponse(bindings_question=question))
                return await answer if heard else []
        except TimeoutError:
            return []
        finally:
            del self._waiting[question.question_id]

    def _take(self, answer: pb.BindingsAnswer) -> None:
        waiting = self._waiting.get(answer.question_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(list(answer.bindings))
