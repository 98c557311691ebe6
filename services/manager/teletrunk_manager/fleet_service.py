"""FleetService and EnrolmentService on the wire."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import fleet_pb2 as pb
from teletrunk.v1 import fleet_pb2_grpc

from teletrunk_manager.fleet import Fleet
from teletrunk_manager.mistakes import explaining


class FleetService(fleet_pb2_grpc.FleetServiceServicer):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @explaining
    async def Invite(self, request: pb.InviteRequest, context: Any) -> pb.InviteResponse:
        return await self._fleet.invite(request.kind, request.comment)

    @explaining
    async def Revoke(self, request: pb.RevokeRequest, context: Any) -> pb.RevokeResponse:
        await self._fleet.revoke(request.service_id)
        return pb.RevokeResponse()

    @explaining
    async def Assign(self, request: pb.AssignRequest, context: Any) -> pb.AssignResponse:
        await self._fleet.assign(request.account, list(request.worker_ids))
        return pb.AssignResponse()


class EnrolmentService(fleet_pb2_grpc.EnrolmentServiceServicer):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @explaining
    async def Enrol(self, request: pb.EnrolRequest, context: Any) -> pb.EnrolResponse:
        return await self._fleet.enrol(request)
