"""Workers and Storages as people see them: what they say, what their certificates are, what was ordered of them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import LIST_SERVICES, Shows
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import manager_pb2

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Assignment, Drain, Member, Service, ServiceName
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Unknown


class Services:
    def __init__(self, database: Database, live: Live) -> None:
        self._database = database
        self._live = live

    async def page(self, request: pb.ListServicesRequest) -> pb.ListServicesResponse:
        """By id, without those whose certificate was revoked."""
        revoked = sa.select(Member.service_id).where(Member.revoked)
        query = sa.select(Service).where(Service.service_id.not_in(revoked))
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, query, Service.service_id, request)
            return pb.ListServicesResponse(services=await self._messages(session, rows), next=following)

    async def one(self, service_id: str) -> pb.AttachedService:
        """Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            row = await session.get(Service, service_id)
            if row is None:
                raise Unknown(f"there is no service {service_id}: ", Shows(LIST_SERVICES))
            return (await self._messages(session, [row]))[0]

    async def _messages(self, session: AsyncSession, rows: Sequence[Service]) -> list[pb.AttachedService]:
        ids = [row.service_id for row in rows]
        members = {m.service_id: m for m in await session.scalars(sa.select(Member).where(Member.service_id.in_(ids)))}
        named = sa.select(ServiceName).where(ServiceName.service_id.in_(ids))
        names = {row.service_id: row.name for row in await session.scalars(named)}
        drained = set(await session.scalars(sa.select(Drain.worker_id).where(Drain.worker_id.in_(ids))))
        assigned: dict[str, list[str]] = {}
        listed = sa.select(Assignment).where(Assignment.worker_id.in_(ids)).order_by(Assignment.account_id)
        for assignment in await session.scalars(listed):
            assigned.setdefault(assignment.worker_id, []).append(assignment.account_id)
        messages = []
        for row in rows:
            message = self._message(row)
            message.name = names.get(row.service_id, row.name)
            message.drained = row.service_id in drained
            message.account_ids.extend(assigned.get(row.service_id, ()))
            if member := members.get(row.service_id):
                message.comment, message.came_by = member.comment, member.came_by
                message.enrolled_at, message.certified_until = member.enrolled_at, member.certified_until
            messages.append(message)
        return messages

    def _message(self, row: Service) -> pb.AttachedService:
        attached = self._live.find(row.service_id)
        beat = attached.heartbeat if attached else manager_pb2.Heartbeat()
        return pb.AttachedService(
            id=row.service_id,
            name=row.name,
            kind=row.kind,
            version=row.version,
            address=row.address,
            attached=attached is not None,
            last_seen=attached.seen_at if attached else row.last_seen,
            active_calls=beat.active_calls,
            registrations=beat.registrations,
            sessions=len(beat.sessions),
            draining=beat.draining,
            most_calls=beat.most_calls,
            sip_tls_address=beat.sip_tls_address,
        )
