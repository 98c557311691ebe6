"""Plans at the real Manager: what they let through, on both databases."""

from __future__ import annotations

import asyncio
import time

import grpc
from teletrunk.v1 import call_pb2, subscription_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import subscription_pb2 as plans

from tests.integration.manager_process import mistake, refusal
from tests.integration.manager_world import World

ROW = "subscription-limit"


class Plans:
    """The plan `p` of the one account of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = subscription_pb2_grpc.SubscriptionServiceStub(world.wire.channel)

    async def begin(self) -> None:
        self.account = await self.world.add_account()
        self.password = (await self.world.add_trunk("office")).password
        await self.service.AddSubscription(plans.AddSubscriptionRequest(name="p"))
        await self.service.IncludeAccount(plans.IncludeAccountRequest(account="@ann", subscription="p"))

    async def limit(self, **limits: float) -> None:
        request = plans.ChangeSubscriptionRequest(subscription="p", limits=plans.Limits(**limits))  # type: ignore[arg-type]
        await self.service.ChangeSubscription(request)

    async def now(self) -> plans.Subscription:
        (found,) = (await self.service.ListSubscriptions(plans.ListSubscriptionsRequest())).subscriptions
        return found

    async def route(self, call_id: str) -> pb.RouteCallResponse:
        return await self.world.route("office", self.password, call_id=call_id)

    async def refused(self, call_id: str) -> str:
        row, detail = await refusal(self.route(call_id))
        assert row == ROW
        return detail

    async def ended(self, call_id: str, talked: float = 0.0, ago: float = 0.0) -> None:
        at = time.time() - ago
        record = call_pb2.CallRecord(
            call_id=call_id, account_id=self.account.account_id, direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM,
            invited_at=at - talked, answered_at=at - talked if talked else 0.0, ended_at=at,
        )  # fmt: skip
        await self.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))


async def test_lines_are_taken_and_given_back(world: World) -> None:
    plan = Plans(world)
    await plan.begin()
    free = await plan.route("free")
    assert not free.HasField("line"), "nobody counts"
    await plan.limit(lines=3)
    answers = await asyncio.gather(*(plan.route(f"c{n}") for n in range(12)), return_exceptions=True)
    up = [answer.line.call_id for answer in answers if isinstance(answer, pb.RouteCallResponse)]
    assert len(up) == 3
    assert await plan.refused("one-more") == "all lines busy"
    assert (await plan.now()).lines_taken == 3
    again = await plan.route(up[0])
    assert again.line.call_id == up[0], "the same call has its line already"
    for call_id in up:
        await plan.ended(call_id)
    assert (await plan.now()).lines_taken == 0
    incoming = pb.RouteIncomingRequest(
        call_id="in", session_id=plan.account.session_id, caller=call_pb2.Peer(user_id=9)
    )
    assert (await world.wire.manager.RouteIncoming(incoming)).line.call_id == "in"
    assert (await plan.now()).lines_taken == 1, "a call from Telegram takes a line too"
    await plan.limit(lines=0)
    assert await plan.refused("x") == "no paid line"


async def test_time_and_failures_within_a_window(world: World) -> None:
    plan = Plans(world)
    await plan.begin()
    await plan.limit(valid_until=time.time() - 1)
    assert await plan.refused("x") == "expired"
    await plan.limit(valid_until=time.time() + 60, total_seconds=100, window_seconds=3600, call_seconds=70)
    assert (await plan.route("a")).longest_seconds == 70
    await plan.ended("long-ago", talked=500, ago=4000)
    await plan.ended("a", talked=60)
    assert (await plan.route("b")).longest_seconds == 40
    await plan.ended("b", talked=40)
    assert await plan.refused("x") == "total duration exceeded"
    await plan.limit(failed_calls=2)
    await plan.ended("f1")
    await plan.route("c")
    await plan.ended("f2")
    assert await plan.refused("x") == "failed calls exceeded"
    assert (await plan.now()).limits.window_seconds == 30 * 86_400, "a window is made when none was given"


async def test_changes_from_an_old_look_are_refused(world: World) -> None:
    plan = Plans(world)
    await plan.begin()
    seen = (await plan.now()).version
    await plan.limit(lines=5)
    request = plans.ChangeSubscriptionRequest(subscription="p", limits=plans.Limits(lines=9), version=seen)
    assert await mistake(plan.service.ChangeSubscription(request)) == (
        grpc.StatusCode.FAILED_PRECONDITION, "p has been changed meanwhile: look at it again"
    )  # fmt: skip
    assert (await plan.now()).limits.lines == 5
    doubled = plan.service.AddSubscription(plans.AddSubscriptionRequest(name="p"))
    assert (await mistake(doubled))[0] is grpc.StatusCode.ALREADY_EXISTS
    await plan.service.RemoveSubscription(plans.RemoveSubscriptionRequest(subscription="p"))
    assert not (await plan.route("free")).HasField("line")


async def test_a_workers_lines_lapse_when_it_dies_and_stay_while_it_lives(world: World) -> None:
    plan = Plans(world)
    await plan.begin()
    await plan.limit(lines=1)
    line = (await plan.route("a")).line
    await world.worker.beat(pb.Heartbeat(lines=[line]))
    assert await plan.refused("b") == "all lines busy"
    await world.worker.leave()
    async with asyncio.timeout(20):  # the lease is 15 s
        while (await plan.now()).lines_taken:
            await world.report(pb.SESSION_STATE_ACTIVE)
            await asyncio.sleep(0.2)
    await plan.route("b")
