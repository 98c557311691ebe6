"""What a Worker says on its stream to the Manager, counted where it arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from teletrunk import rpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import manager_pb2_grpc
from teletrunk.v1.trunk_pb2 import TrunkState
from teletrunk_worker.links.journal import Journal
from teletrunk_worker.links.manager import ManagerLink
from teletrunk_worker.links.spool import Spool

SECURITY = rpc.Security("t" * 32)
PATIENCE_S = 15.0


class Manager(manager_pb2_grpc.ManagerServiceServicer):
    """Answers each heartbeat with a pulse, and with a wish, by which it is known that the pulse was read."""

    @classmethod
    def serving(cls, pulse: pb.Pulse) -> Self:
        """Of the generated servicer's methods it has those that are called; the others answer UNIMPLEMENTED."""
        return cls(pulse)

    def __init__(self, pulse: pb.Pulse) -> None:
        self._pulse = pulse
        self.heartbeats: asyncio.Queue[pb.Heartbeat] = asyncio.Queue()
        self.hangs_up = False

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        async for request in requests:
            if request.HasField("heartbeat"):
                if self.hangs_up:
                    self.hangs_up = False
                    return
                self.heartbeats.put_nowait(request.heartbeat)
                yield pb.AttachResponse(pulse=self._pulse)
                yield pb.AttachResponse(wish=pb.CallWish())


class Worker:
    def __init__(self, link: ManagerLink, manager: Manager, trunks: int) -> None:
        self.link, self.manager = link, manager
        self.states = [TrunkState(trunk_id=f"{n:012x}", up=True, why="registered", since=1.0) for n in range(trunks)]
        self._read = asyncio.Event()
        link.load = lambda: (pb.Heartbeat(), {"trunk_states": self.states})
        link.on_wish = lambda wish: self._read.set()

    async def heartbeat(self) -> pb.Heartbeat:
        """The next one, when its pulse is back."""
        async with asyncio.timeout(PATIENCE_S):
            heartbeat = await self.manager.heartbeats.get()
            await self._read.wait()
        self._read.clear()
        return heartbeat

    async def changed(self) -> pb.Heartbeat:
        self.link.has_news()
        return await self.heartbeat()


@contextlib.asynccontextmanager
async def attached(tmp_path: Path, pulse: pb.Pulse, trunks: int) -> AsyncIterator[Worker]:
    manager, server = Manager.serving(pulse), rpc.Server("127.0.0.1:0", SECURITY)
    server.add(manager_pb2_grpc.add_ManagerServiceServicer_to_server, manager)
    await server.start()
    journal = Journal(Spool(tmp_path))
    link = ManagerLink(f"127.0.0.1:{server.port}", SECURITY, pb.WorkerHello(worker_id="w"), journal)
    worker = Worker(link, manager, trunks)
    staying = asyncio.create_task(link.stay_attached())
    try:
        yield worker
    finally:
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)
        await link.way.close()
        await server.stop(0)
        await journal.close()


@pytest.mark.parametrize("trunks", [1, 10_000])
async def test_what_has_not_changed_is_not_said_again(trunks: int, tmp_path: Path) -> None:
    async with attached(tmp_path, pb.Pulse(takes_changes=True), trunks) as worker:
        assert len((await worker.heartbeat()).trunk_states) == trunks
        assert (await worker.changed()).ByteSize() == 2, "all of it is `changes_only`"
        worker.states[0] = TrunkState(trunk_id=worker.states[0].trunk_id, why="503 Busy", since=2.0)
        assert list((await worker.changed()).trunk_states) == worker.states[:1]
        gone = worker.states.pop(0).trunk_id
        assert await worker.changed() == pb.Heartbeat(changes_only=True, gone_trunk_states=[gone])
        worker.manager.hangs_up = True  # which is what ends this stream
        worker.link.has_news()
        again = await worker.heartbeat()
        assert not again.changes_only and list(again.trunk_states) == worker.states, "another Manager knows nothing"
        if worker.states:  # the sender of the stream before waits still, and wakes with the other
            worker.states[0] = TrunkState(trunk_id=worker.states[0].trunk_id, why="483 Too Many Hops", since=3.0)
            assert list((await worker.changed()).trunk_states) == worker.states[:1]


async def test_a_manager_of_the_version_before_is_told_all_each_time(tmp_path: Path) -> None:
    async with attached(tmp_path, pb.Pulse(), 3) as worker:
        for heartbeat in (await worker.heartbeat(), await worker.changed()):
            assert not heartbeat.changes_only and list(heartbeat.trunk_states) == worker.states
