"""FleetService and EnrolmentService on the wire."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import fleet_pb2 as pb
from teletrunk.v1 import fleet_pb2_grpc

from teletrunk_manager.bans import BanList
from teletrunk_manager.enrolment import Enrolment
from teletrunk_manager.fleet import Fleet
from teletrunk_manager.invitations import Invitations
from teletrunk_manager.join_tokens import JoinTokens
from teletrunk_manager.mistakes import explaining
from teletrunk_manager.retirement import Retirement
from teletrunk_manager.trunks import Trunks
from teletrunk_manager.vaults import Vaults


class FleetService(fleet_pb2_grpc.FleetServiceServicer):
    def __init__(
        self,
        fleet: Fleet,
        enrolment: Enrolment,
        invitations: Invitations,
        joins: JoinTokens,
        retirement: Retirement,
        trunks: Trunks,
        bans: BanList,
        vaults: Vaults,
    ) -> None:
        self._vaults = vaults
        self._retirement = retirement
        self._enrolment = enrolment
        self._invitations = invitations
        self._joins = joins
        self._bans = bans
        self._fleet = fleet
        self._trunks = trunks

    @explaining
    async def Invite(self, request: pb.InviteRequest, context: Any) -> pb.InviteResponse:
        return await self._enrolment.invite(request.kind, request.comment)

    @explaining
    async def ListInvitations(self, request: pb.ListInvitationsRequest, context: Any) -> pb.ListInvitationsResponse:
        return await self._invitations.page(request)

    @explaining
    async def RevokeInvitation(self, request: pb.RevokeInvitationRequest, context: Any) -> pb.RevokeInvitationResponse:
        await self._invitations.revoke(request.id)
        return pb.RevokeInvitationResponse()

    @explaining
    async def Revoke(self, request: pb.RevokeRequest, context: Any) -> pb.RevokeResponse:
        return pb.RevokeResponse(join_token=await self._fleet.revoke(request.service_id))

    @explaining
    async def ApproveStorage(self, request: pb.ApproveStorageRequest, context: Any) -> pb.ApproveStorageResponse:
        await self._vaults.approve(request.storage_id)
        return pb.ApproveStorageResponse()

    @explaining
    async def RemoveService(self, request: pb.RemoveServiceRequest, context: Any) -> pb.RemoveServiceResponse:
        await self._retirement.remove(request.service_id)
        return pb.RemoveServiceResponse()

    @explaining
    async def RenameService(self, request: pb.RenameServiceRequest, context: Any) -> pb.RenameServiceResponse:
        await self._fleet.rename(request.service_id, request.name)
        return pb.RenameServiceResponse()

    @explaining
    async def AddJoinToken(self, request: pb.AddJoinTokenRequest, context: Any) -> pb.AddJoinTokenResponse:
        return await self._joins.add(request.kind, request.count, request.days, request.comment)

    @explaining
    async def ListJoinTokens(self, request: pb.ListJoinTokensRequest, context: Any) -> pb.ListJoinTokensResponse:
        return await self._joins.page(request)

    @explaining
    async def RevokeJoinToken(self, request: pb.RevokeJoinTokenRequest, context: Any) -> pb.RevokeJoinTokenResponse:
        await self._joins.revoke(request.id)
        return pb.RevokeJoinTokenResponse()

    @explaining
    async def Assign(self, request: pb.AssignRequest, context: Any) -> pb.AssignResponse:
        await self._fleet.assign(request.account, list(request.worker_ids))
        return pb.AssignResponse()

    @explaining
    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        await self._fleet.drain(request.worker_id, request.on)
        return pb.DrainResponse()

    @explaining
    async def Trust(self, request: pb.TrustRequest, context: Any) -> pb.TrustResponse:
        await self._trunks.trust(request.trunk, list(request.addresses))
        return pb.TrustResponse()

    @explaining
    async def ListBans(self, request: pb.ListBansRequest, context: Any) -> pb.ListBansResponse:
        return await self._bans.page(request)

    @explaining
    async def LiftBan(self, request: pb.LiftBanRequest, context: Any) -> pb.LiftBanResponse:
        await self._bans.lift(request.address)
        return pb.LiftBanResponse()


class EnrolmentService(fleet_pb2_grpc.EnrolmentServiceServicer):
    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    @explaining
    async def Enrol(self, request: pb.EnrolRequest, context: Any) -> pb.EnrolResponse:
        return await self._enrolment.enrol(request)
