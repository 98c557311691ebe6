"""The streams that Workers and Storages hold open: hello, heartbeats, end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import sqlalchemy as sa
import structlog
from teletrunk import rpc
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.bans import BanList
from teletrunk_manager.bindings import Bindings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.audit import asked_by_service
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Service
from teletrunk_manager.domain.pace import Pace
from teletrunk_manager.heartbeats import checked, require_sensible, rest_after, shorten
from teletrunk_manager.live import Attached, Kind, Live
from teletrunk_manager.mistakes import Mistake, TooOften
from teletrunk_manager.news import News
from teletrunk_manager.parts import Told
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.refused_registrations import RefusedRegistrations
from teletrunk_manager.state import OutOfReach, SharedState
from teletrunk_manager.storages import Storages
from teletrunk_manager.vaults import require_own_vault

log = structlog.get_logger()

_SILENCE_S = 15.0
# Each stream costs a write, and everybody's configuration is looked at. A service whose link breaks at once, again and
# again, comes every 0.6 seconds, and a minute long as often as it likes.
_STREAMS_AT_ONCE, _A_STREAM_EVERY_S = 60, 3.0
_REFUSALS_LOGGED_EVERY_S = 60.0


class Attachments:
    def __init__(
        self,
        database: Database,
        live: Live,
        state: SharedState,
        configurations: Configurations,
        bans: BanList,
        bindings: Bindings,
        storages: Storages,
        news: News,
        proofs: Proofs,
        refused_registrations: RefusedRegistrations,
        silence: float = _SILENCE_S,
    ) -> None:
        self._news = news
        self._database = database
        self._live = live
        self._state = state
        self._configurations = configurations
        self._bans = bans
        self._bindings = bindings
        self._storages = storages
        self._proofs = proofs
        self._refused_registrations = refused_registrations
        self._silence = silence
        self._pace = Pace(_STREAMS_AT_ONCE, 1 / _A_STREAM_EVERY_S)
        self._refusals_logged = Pace(1, 1 / _REFUSALS_LOGGED_EVERY_S)
        self._ending = False
        self._readers = BackgroundTasks()
        self._farewells = BackgroundTasks()

    async def hold(
        self, requests: AsyncIterator[pb.AttachRequest], identity: Identity | None
    ) -> AsyncGenerator[pb.AttachResponse, None]:
        """One stream from its hello to its end. Raises `Mistake` for a hello that is none, and `Refusal`."""
        service = await self._introduced(requests, identity)
        reader: asyncio.Task[None] | None = None
        try:
            await self._welcome(service)
            reader = self._readers.run(self._read(service, requests, proven=identity is not None))
            while (response := await service.outbox.get()) is not None:
                yield response
        finally:
            if reader is not None:
                reader.cancel()
            if self._live.detach(service):
                # In a task of its own: this one is cancelled, again and again, when the service has hung up.
                self._farewells.run(self._farewell(service))

    async def _introduced(self, requests: AsyncIterator[pb.AttachRequest], identity: Identity | None) -> Attached:
        first = await _next(requests, rpc.DEADLINE_S)
        row = _introduced(first)
        if identity is not None and (identity.kind, identity.id) != (row.kind, row.service_id):
            raise Mistake(f"the certificate is of {identity.kind} {identity.id}, not of {row.kind} {row.service_id}")
        self._require_pace(row.kind, row.service_id)
        if identity is not None and identity.kind == "storage":  # on one machine loopback is the way
            await self._storages.require_reachable(identity.id, row.address)
        async with self._database.transaction() as session:
            if identity is not None and identity.kind == "storage" and first is not None:
                await require_own_vault(session, identity.id, first.storage.vault_proof)
            await session.merge(row)
        in_parts = first is not None and (first.worker.takes_parts or first.storage.takes_parts)
        kind: Kind = "worker" if row.kind == "worker" else "storage"
        return Attached(row.service_id, kind, row.address, told=Told(in_parts=in_parts))

    def _require_pace(self, kind: str, service_id: str) -> None:
        """Raises `TooOften`."""
        if self._pace.allows(service_id):
            return
        if self._refusals_logged.allows(service_id):
            log.warning("service attaches again and again: is its certificate stolen?", kind=kind, id=service_id)
        raise TooOften(f"streams of {kind} {service_id}", self._pace.seconds(service_id))

    async def _welcome(self, service: Attached) -> None:
        if self._live.find(service.service_id) is None:
            self._news.tell(f"{service.kind}.back", {"id": service.service_id, "address": service.address})
        self._live.attach(service)
        with contextlib.suppress(OutOfReach):  # it is shown again with its next heartbeat
            await self._state.take_service(service.service_id, service.holder, service.record())
        log.info("service attached", kind=service.kind, id=service.service_id, address=service.address)
        self._configurations.changed()  # it may have been invited anew

    async def _read(self, service: Attached, requests: AsyncIterator[pb.AttachRequest], *, proven: bool) -> None:
        """Takes heartbeats; a stream that says nothing for too long is closed."""
        asked_by_service(service.service_id)
        try:
            while (request := await _next(requests, self._silence)) is not None:
                kind, rest = request.WhichOneof("kind"), rest_after(request)
                if kind == "heartbeat":
                    heartbeat = checked(request.heartbeat, of_worker=service.kind == "worker")
                    await self._beat(service, heartbeat, proven=proven)
                    rest = rest_after(request, service.heartbeat)
                elif kind == "banned" and service.kind == "worker":
                    with contextlib.suppress(Refusal, Mistake):  # it is told again until it is in the configuration
                        await self._bans.add(request.banned, service.service_id)
                elif kind == "refused" and service.kind == "worker":
                    shorten(request.refused, "login", "source_address", "detail")
                    self._refused_registrations.note_many(service.service_id, request.refused)
                elif kind == "bindings" and service.kind == "worker":
                    await self._bindings.told(service.service_id, request.bindings)
                await asyncio.sleep(rest)
        finally:
            service.close()

    async def _beat(self, service: Attached, heartbeat: pb.Heartbeat, *, proven: bool) -> None:
        before, known = service.heartbeat, service.has_beaten
        beat = service.beat(heartbeat)
        self._live.arrived()
        if known and service.heartbeat is not before:
            self._news.compare(service.service_id, before, service.heartbeat)
        if beat.has_other_lines:
            service.lines = [
                (line.subscription_id, line.call_id)
                for line in service.heartbeat.lines
                # On one machine there is but one word of everybody's: the token.
                if not proven or self._proofs.line_holds(line, service.service_id)
            ]
        try:
            shown = self._state.show_service(service.service_id, service.holder, beat.record, service.record)
            if not await shown:
                log.info("service has gone to another manager", kind=service.kind, id=service.service_id)
                service.close()
                return
            if beat.has_other_lines:
                await self._state.keep_lines(service.lines)
        except OutOfReach:
            pass  # the mirror has said so, and shows everybody when it is back
        if beat.moved:
            self._configurations.moved()

    async def close(self) -> None:
        """This Manager ends. Its services are not said to have left: they come to another within a second."""
        self._ending = True
        self._live.close()

    async def settle(self) -> None:
        """Once all streams are closed: waits until it is written down who has left."""
        await self._farewells.settle(rpc.DEADLINE_S)

    async def _farewell(self, service: Attached) -> None:
        log.info("service detached", kind=service.kind, id=service.service_id)
        if not self._ending:
            with contextlib.suppress(OutOfReach):  # it lapses
                await self._state.drop_service(service.service_id, service.holder)
            if self._live.find(service.service_id) is None:  # it has not come to another Manager meanwhile
                self._news.tell(f"{service.kind}.away", {"id": service.service_id, "address": service.address})
        self._configurations.moved()
        with contextlib.suppress(Refusal):  # the transaction has logged it, and the time is a comfort only
            async with self._database.transaction() as session:
                found = sa.update(Service).where(Service.service_id == service.service_id)
                await session.execute(found.values(last_seen=service.seen_at))


async def _next(requests: AsyncIterator[pb.AttachRequest], patience: float) -> pb.AttachRequest | None:
    """The next message; None at the stream's end and after silence."""
    try:
        async with asyncio.timeout(patience):
            return await anext(aiter(requests), None)
    except TimeoutError:
        return None


def _introduced(first: pb.AttachRequest | None) -> Service:
    kind = first.WhichOneof("kind") if first is not None else None
    if first is not None and kind == "worker":
        hello: pb.WorkerHello | pb.StorageHello = first.worker
        service_id, address = first.worker.worker_id, first.worker.sip_address
    elif first is not None and kind == "storage":
        hello = first.storage
        service_id, address = first.storage.storage_id, first.storage.address
    else:
        raise Mistake("the first message must be a hello")
    require_sensible(hello, service_id, address)
    return Service(
        service_id=service_id,
        kind=kind,
        name=hello.name,
        version=hello.version,
        address=address,
        last_seen=time.time(),
    )
