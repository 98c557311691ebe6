"""SubscriptionService on the wire."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import subscription_pb2 as pb
from teletrunk.v1 import subscription_pb2_grpc

from teletrunk_manager.mistakes import explaining
from teletrunk_manager.subscriptions import Subscriptions


class SubscriptionService(subscription_pb2_grpc.SubscriptionServiceServicer):
    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    @explaining
    async def AddSubscription(self, request: pb.AddSubscriptionRequest, context: Any) -> pb.AddSubscriptionResponse:
        return pb.AddSubscriptionResponse(subscription=await self._subscriptions.add(request))

    @explaining
    async def ChangeSubscription(
        self, request: pb.ChangeSubscriptionRequest, context: Any
    ) -> pb.ChangeSubscriptionResponse:
        return pb.ChangeSubscriptionResponse(subscription=await self._subscriptions.change(request))

    @explaining
    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Any
    ) -> pb.ListSubscriptionsResponse:
        return await self._subscriptions.page(request)

    @explaining
    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Any) -> pb.GetSubscriptionResponse:
        return pb.GetSubscriptionResponse(subscription=await self._subscriptions.one(request.subscription))

    @explaining
    async def RemoveSubscription(
        self, request: pb.RemoveSubscriptionRequest, context: Any
    ) -> pb.RemoveSubscriptionResponse:
        await self._subscriptions.remove(request.subscription)
        return pb.RemoveSubscriptionResponse()

    @explaining
    async def IncludeAccount(self, request: pb.IncludeAccountRequest, context: Any) -> pb.IncludeAccountResponse:
        await self._subscriptions.include(request.account, request.subscription)
        return pb.IncludeAccountResponse()
