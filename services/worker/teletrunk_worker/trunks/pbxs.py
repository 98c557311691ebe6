"""The PBXs that do not register at us: one task for each, begun, changed and ended as the Manager says."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from teletrunk.background import BackgroundTasks
from teletrunk.v1 import trunk_pb2 as pb

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.registrar import Binding, Registrar
from teletrunk_worker.sip.transport.flow import Flow
from teletrunk_worker.trunks.book import Trunk, TrunkBook
from teletrunk_worker.trunks.disputes import Disputes
from teletrunk_worker.trunks.pbx import Network, News, OutboundPbx, Pbx, PeerPbx
from teletrunk_worker.trunks.sources import Sources

log = structlog.get_logger()

_GOOD_BYE_S = 2.0


@dataclass(frozen=True)
class Known:
    """Whose call it is that comes without a digest, and whom it wants."""

    trunk: Trunk
    called: str


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
        self._sources = Sources()
        self._by_token: dict[str, OutboundPbx] = {}
        self._news = News(self._bind, self._found, self._reached, lambda: self.changed())
        self._disputes = Disputes()
        self._tasks = BackgroundTasks()
        self.changed: Callable[[], None] = lambda: None

    def follow(self) -> None:
        """The book has changed."""
        wanted = {trunk.trunk_id: trunk for trunk in self._book.all() if self._is_ours(trunk)}
        for trunk_id, (pbx, task) in list(self._all.items()):
            if trunk_id not in wanted or pbx.trunk.asks_otherwise(wanted[trunk_id]) or task.done():
                self._end(pbx, task)
                continue
            before, pbx.trunk = pbx.trunk, wanted[trunk_id]  # its lists may be others
            if before.networks != pbx.trunk.networks:
                self._found(pbx.trunk, pbx.addresses)
        for trunk_id, trunk in wanted.items():
            if trunk_id not in self._all:
                self._begin(trunk)

    def _begin(self, trunk: Trunk) -> None:
        pbx = self._made(trunk)
        self._registrar.name(trunk.login, trunk.trunk_id)
        self._found(trunk, pbx.addresses)
        if isinstance(pbx, OutboundPbx):
            self._by_token[pbx.token] = pbx
        self._all[trunk.trunk_id] = pbx, self._tasks.run(pbx.keep())

    def _end(self, pbx: Pbx, task: asyncio.Task[None]) -> None:
        del self._all[pbx.trunk.trunk_id]
        self._sources.put(pbx.trunk.trunk_id, ())
        if isinstance(pbx, OutboundPbx):
            del self._by_token[pbx.token]
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

    def _found(self, trunk: Trunk, addresses: frozenset[str]) -> None:
        """It comes from where it is, or from where the trunk's list of addresses says that it may come."""
        own = (ipaddress.ip_network(address.partition("%")[0]) for address in addresses)
        header = trunk.options.pbx.header if trunk.options.kind == pb.TRUNK_KIND_PEER else ""
        self._sources.put(trunk.trunk_id, [*own, *trunk.networks], header)

    def _reached(self, trunk: Trunk, address: str) -> None:
        self._known(trunk.login, address)

    def states(self) -> list[pb.TrunkState]:
        return [pbx.state for pbx, _ in self._all.values()]

    def is_at(self, login: str, address: str) -> bool:
        """Whether the PBX of the trunk with this login may be at this address."""
        return self._sources.has(self._registrar.trunk_of(login), address)

    def whose(self, invite: Request, flow: Flow) -> Known | None:
        """The trunk that an INVITE is of by where it comes from; None: it needs a digest."""
        if not self._all or self._registrar.is_at(flow):  # who has registered from there shows its password
            return None
        found: Pbx | None = self._by_token.get(invite.uri.user)
        if found is None or not self._sources.has(found.trunk.trunk_id, flow.peer[0]):
            found = self._likeliest(invite, flow.peer[0])
        if found is None or not found.trunk.takes(flow.transport):
            return None
        called = found.called(invite) if isinstance(found, OutboundPbx) else invite.uri.user
        return Known(found.trunk, called)

    def _likeliest(self, invite: Request, address: str) -> Pbx | None:
        """Of those that may come from there: one whose header the call bears, one without a header, one it names."""
        here = [self._all[trunk_id][0] for trunk_id in self._sources.at(address, invite.headers.getlist)]
        here.sort(key=lambda pbx: (not pbx.options.header, pbx.trunk.login))
        peer = next((pbx for pbx in here if isinstance(pbx, PeerPbx)), None)
        if peer is None:
            return _named([pbx for pbx in here if isinstance(pbx, OutboundPbx)], invite)
        return None if self._disputes.is_one(peer, here) else peer

    async def close(self) -> None:
        """Takes our registrations back."""
        ending = list(self._all.values())
        self._all.clear()
        self._sources = Sources()
        self._by_token.clear()
        for _, task in ending:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOOD_BYE_S):
                await asyncio.gather(*(pbx.close() for pbx, _ in ending), return_exceptions=True)
        await self._tasks.settle(0.1)


def _named(outbound: list[OutboundPbx], invite: Request) -> OutboundPbx | None:
    """Of several registrations at one PBX, the one whose user the call names. One alone needs no name."""
    able = [pbx for pbx in outbound if pbx.state.up]
    if len(able) == 1:
        return able[0]
    users = [invite.to.uri.user, invite.uri.user, invite.from_.uri.user]
    return next((pbx for user in users for pbx in able if pbx.options.username == user), None)
