"""The streams that Workers and Storages hold open: hello, heartbeats, end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import sqlalchemy as sa
import structlog
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Service
from teletrunk_manager.live import Attached, Live
from teletrunk_manager.mistakes import Mistake

log = structlog.get_logger()

_SILENCE_S = 15.0


class Attachments:
    def __init__(
        self, database: Database, live: Live, configurations: Configurations, silence: float = _SILENCE_S
    ) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._silence = silence

    async def hold(
        self, requests: AsyncIterator[pb.AttachRequest], identity: Identity | None
    ) -> AsyncIterator[pb.AttachResponse]:
        """One stream from its hello to its end. Raises `Mistake` for a hello that is none, and `Refusal`."""
        service = await self._welcome(requests, identity)
        reader = asyncio.get_running_loop().create_task(self._read(service, requests))
        try:
            while (response := await service.outbox.get()) is not None:
                yield response
        finally:
            reader.cancel()
            if self._live.detach(service):
                await self._farewell(service)

    async def _welcome(self, requests: AsyncIterator[pb.AttachRequest], identity: Identity | None) -> Attached:
        row = _introduced(await _next(requests, rpc.DEADLINE_S))
        if identity is not None and (identity.kind, identity.id) != (row.kind, row.service_id):
            raise Mistake(f"the certificate is of {identity.kind} {identity.id}, not of {row.kind} {row.service_id}")
        async with self._database.transaction() as session:
            await session.merge(row)
        service = Attached(row.service_id, "worker" if row.kind == "worker" else "storage", row.address)
        self._live.attach(service)
        log.info("service attached", kind=row.kind, id=row.service_id, address=row.address)
        self._configurations.changed()
        return service

    async def _read(self, service: Attached, requests: AsyncIterator[pb.AttachRequest]) -> None:
        """Takes heartbeats; a stream that says nothing for too long is closed."""
        try:
            while (request := await _next(requests, self._silence)) is not None:
                if request.WhichOneof("kind") == "heartbeat" and service.beat(request.heartbeat):
                    self._configurations.changed()
        finally:
            service.outbox.put_nowait(None)

    async def _farewell(self, service: Attached) -> None:
        log.info("service detached", kind=service.kind, id=service.service_id)
        self._configurations.changed()
        with contextlib.suppress(Refusal):  # the transaction has logged it, and the time is a comfort only
            async with self._database.transaction() as session:
                found = sa.update(Service).where(Service.service_id == service.service_id)
                await session.execute(found.values(last_seen=service.seen_at))


async def _next(requests: AsyncIterator[pb.AttachRequest], patience: float) -> pb.AttachRequest | None:
    """The next message; None at the stream's end and after silence."""
    try:
        return await asyncio.wait_for(anext(aiter(requests), None), patience)
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
    if not service_id or not address:
        raise Mistake("a hello needs an id and an address")
    return Service(
        service_id=service_id,
        kind=kind,
        name=hello.name,
        version=hello.version,
        address=address,
        last_seen=time.time(),
    )
