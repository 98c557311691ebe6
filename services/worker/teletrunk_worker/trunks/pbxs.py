"""The PBXs that do not register at us: one task for each, begun, changed and ended as the Manager says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog
from teletrunk.background import BackgroundTasks
from teletrunk.v1 import trunk_pb2 as pb

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.registrar import Binding, Registrar
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.trunks.book import Trunk, TrunkBook
from teletrunk_worker.trunks.origins import Known, Origins
from teletrunk_worker.trunks.pbx import Network, News, OutboundPbx, Pbx, PeerPbx

log = structlog.get_logger()

_GOOD_BYE_S = 2.0


class Pbxs:
    """All of this Worker's. `known` is told of each login the address at which its PBX was reached, again and again."""

    def __init__(
        self, registrar: Registrar, book: TrunkBook, network: Network, known: Callable[[str, str], None]
    ) -> None:
        self._registrar = registrar
        self._book = book
        self._network = network
        self._known = known
        self._all: dict[str, tuple[Pbx, asyncio.Task[None]]] = {}  # by trunk id
        self._ended: set[str] = set()  # trunks whose task has ended by itself: to be begun again
        self._origins = Origins()
        self._news = News(self._bind, self._moved, self._reached)
        self._tasks = BackgroundTasks()
        self.changed: Callable[[], None] = lambda: None

    def follow(self, changed: Iterable[str]) -> None:
        """The book has changed: these trunks are new, others, or gone."""
        ended, self._ended = self._ended, set()
        for trunk_id in dict.fromkeys((*changed, *ended)):
            self._look_at(trunk_id)

    def _look_at(self, trunk_id: str) -> None:
        trunk, known = self._book.find(trunk_id), self._all.get(trunk_id)
        if known is not None:
            pbx, task = known
            if self._is_ours(trunk) and not pbx.trunk.asks_otherwise(trunk) and not task.done():
                pbx.trunk = trunk  # its lists may be others
                self._origins.note(pbx)
                return
            self._end(pbx, task)
        if self._is_ours(trunk):
            self._begin(trunk)

    def _begin(self, trunk: Trunk) -> None:
        pbx = self._made(trunk)
        self._registrar.name(trunk.login, trunk.trunk_id)
        self._origins.note(pbx)
        task = self._tasks.run(pbx.keep())
        task.add_done_callback(lambda _: self._ended.add(trunk.trunk_id))
        self._all[trunk.trunk_id] = pbx, task

    def _end(self, pbx: Pbx, task: asyncio.Task[None]) -> None:
        del self._all[pbx.trunk.trunk_id]
        self._origins.forget(pbx)
        task.cancel()
        self._bind(pbx.trunk, [])
        self._tasks.run(pbx.close())

    def _is_ours(self, trunk: Trunk) -> bool:
        kind = trunk.options.kind
        return not trunk.options.off and (kind == pb.TRUNK_KIND_PEER or trunk.registers)

    def _made(self, trunk: Trunk) -> Pbx:
        kind = OutboundPbx if trunk.options.kind == pb.TRUNK_KIND_OUTBOUND else PeerPbx
        return kind(trunk, self._network, self._news)

    def _bind(self, trunk: Trunk, bindings: list[Binding]) -> None:
        self._registrar.replace(trunk.trunk_id, trunk.login, bindings)

    def _moved(self, trunk: Trunk) -> None:
        """Its PBX is elsewhere, or its state is another one."""
        if (known := self._all.get(trunk.trunk_id)) is not None:
            self._origins.note(known[0])
        self.changed()

    def _reached(self, trunk: Trunk, address: str) -> None:
        self._known(trunk.login, address)

    def states(self) -> list[pb.TrunkState]:
        return [pbx.state for pbx, _ in self._all.values()]

    def is_at(self, login: str, address: str) -> bool:
        """Whether the PBX of the trunk with this login may be at this address."""
        return self._origins.has(self._registrar.trunk_of(login), address)

    def whose(self, invite: Request, flow: Flow) -> Known | None:
        """The trunk that an INVITE is of by where it comes from; None: it needs a digest."""
        if not self._all or self._registrar.is_at(flow):  # who has registered from there shows its password
            return None
        return self._origins.whose(invite, flow)

    async def close(self) -> None:
        """Takes our registrations back."""
        ending = list(self._all.values())
        self._all.clear()
        self._origins = Origins()
        for _, task in ending:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOOD_BYE_S):
                await asyncio.gather(*(pbx.close() for pbx, _ in ending), return_exceptions=True)
        await self._tasks.settle(0.1)
