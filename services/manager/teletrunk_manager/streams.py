"""The way to a service: its open stream is held by us, or by another Manager, to which we pass on what is for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError
from teletrunk.v1 import live_pb2
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.live import Attached, Live
from teletrunk_manager.state import OutOfReach, SharedState

_OURSELVES: Final = 1  # each Manager listens to what is passed on


class Streams:
    def __init__(self, live: Live, state: SharedState) -> None:
        self._live = live
        self._state = state
        self.on_bindings: Callable[[pb.BindingsAnswer], None] = lambda answer: None

    async def hand(self, service_id: str, response: pb.AttachResponse) -> bool:
        """False when its stream is held by a Manager that does not hear us."""
        if isinstance(service := self._live.find(service_id), Attached):
            service.outbox.put_nowait(response)
            return True
        return await self._pass_on(live_pb2.PassedOn(service_id=service_id, response=response)) > _OURSELVES

    async def pass_on(self, bindings: pb.BindingsAnswer) -> None:
        """A service of ours has answered what another Manager has asked."""
        await self._pass_on(live_pb2.PassedOn(bindings=bindings))

    async def keep_handing_on(self) -> None:
        """What other Managers pass on. Runs until cancelled."""
        async for message in self._state.passed_on():
            with contextlib.suppress(DecodeError):
                passed = live_pb2.PassedOn.FromString(message)
                if passed.HasField("bindings"):
                    self.on_bindings(passed.bindings)
                elif isinstance(service := self._live.find(passed.service_id), Attached):
                    service.outbox.put_nowait(passed.response)

    async def _pass_on(self, passed: live_pb2.PassedOn) -> int:
        """Returns how many have heard it, we among them."""
        try:
            return await self._state.pass_on(passed.SerializeToString())
        except OutOfReach:
            return 0
