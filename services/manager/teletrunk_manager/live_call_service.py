"""LiveCallService on the wire."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import live_calls_pb2 as pb
from teletrunk.v1 import live_calls_pb2_grpc

from teletrunk_manager.db.pages import page_of
from teletrunk_manager.live_calls import LiveCalls
from teletrunk_manager.mistakes import explaining


class LiveCallService(live_calls_pb2_grpc.LiveCallServiceServicer):
    def __init__(self, calls: LiveCalls) -> None:
        self._calls = calls

    @explaining
    async def ListLiveCalls(self, request: pb.ListLiveCallsRequest, context: Any) -> pb.ListLiveCallsResponse:
        calls, following = page_of(await self._calls.all(request.of), lambda call: call.call_id, request)
        return pb.ListLiveCallsResponse(calls=calls, next=following)

    @explaining
    async def SendDigits(self, request: pb.SendDigitsRequest, context: Any) -> pb.SendDigitsResponse:
        await self._calls.press(request.call_id, request.digits)
        return pb.SendDigitsResponse()

    @explaining
    async def HangUp(self, request: pb.HangUpRequest, context: Any) -> pb.HangUpResponse:
        await self._calls.hang_up(request.call_id)
        return pb.HangUpResponse()
