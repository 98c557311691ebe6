"""Two Managers on one PostgreSQL and one Redis: each serves every Worker, and neither counts apart from the other."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from teletrunk.changes import Beats
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2, fleet_pb2, fleet_pb2_grpc, subscription_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import subscription_pb2 as plans
from teletrunk.v1.trunk_pb2 import TrunkState

from tests.integration.manager_process import (
    CODE,
    Attachment,
    ManagerProcess,
    StorageServer,
    Wire,
    answered,
    mistake,
    refusal,
    worker_hello,
)
from tests.servers import Postgres, Redis


class Pair:
    """Managers a and b; the Worker attached to a, the Storage to b."""

    def __init__(self, directory: Path, database: str, redis: Redis) -> None:
        self.redis = redis
        key = directory / "key"
        key.write_bytes(secrets.token_bytes(32))
        settings = {
            "TELETRUNK_DATABASE_URL": database,
            "TELETRUNK_REDIS_URL": redis.url,
            "TELETRUNK_KEY_FILE": str(key),
        }
        self.managers = [ManagerProcess(directory / name, **settings) for name in ("a", "b")]
        self.storage_server = StorageServer.serving()

    async def start(self) -> None:
        await asyncio.gather(*(m.start() for m in self.managers), self.storage_server.server.start())
        self.wires = [Wire(manager.address) for manager in self.managers]
        a, b = self.wires
        self.worker = Attachment(a, worker_hello())
        self.storage = Attachment(b, self.storage_server.hello())
        await asyncio.gather(self.worker.beat(), self.storage.beat())
        async with asyncio.timeout(5):  # the Managers tell each other at once, but not in no time
            while sum(s.attached for s in (await a.admin.ListServices(admin.ListServicesRequest())).services) < 2:
                await asyncio.sleep(0.02)
        started = await b.admin.StartAddAccount(admin.StartAddAccountRequest(phone="+491711234567"))
        code = admin.SubmitAccountCodeRequest(sign_in_id=started.sign_in_id, code=CODE)
        self.account = (await a.admin.SubmitAccountCode(code)).account  # the other Manager takes the next step
        reports = [pb.SessionReport(session_id=self.account.session_id, state=pb.SESSION_STATE_ACTIVE)]
        await self.storage.beat(pb.Heartbeat(sessions=reports))
        for wire in self.wires:
            await self.until(wire, lambda a: [x.state for x in a.accounts] == [pb.SESSION_STATE_ACTIVE])
        self.trunk = await b.admin.AddTrunk(admin.AddTrunkRequest(account="@ann", login="office"))

    async def until(self, wire: Wire, wanted: Callable[[admin.ListAccountsResponse], bool]) -> None:
        async with asyncio.timeout(5):
            while not wanted(await wire.admin.ListAccounts(admin.ListAccountsRequest())):
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        for wire in self.wires:
            await wire.channel.close()
        for manager in self.managers:
            await manager.stop()
        await self.storage_server.server.stop(0)

    def route(self, wire: Wire, call_id: str) -> Any:
        return wire.manager.RouteCall(
            pb.RouteCallRequest(
                call_id=call_id,
                digest=answered("office", self.trunk.password, "INVITE"),
                called="+491700000001",
                registered=True,
            )
        )

    async def plan(self, lines: int) -> Any:
        service: Any = subscription_pb2_grpc.SubscriptionServiceStub(self.wires[0].channel)
        await service.AddSubscription(plans.AddSubscriptionRequest(name="p", limits=plans.Limits(lines=lines)))
        await service.IncludeAccount(plans.IncludeAccountRequest(account="@ann", subscription="p"))
        return service


@pytest.fixture
async def pair(tmp_path: Path, postgres: Postgres, own_redis: Redis) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path, await postgres.database(), own_redis)
    await pair.start()
    try:
        yield pair
    finally:
        await pair.stop()


async def test_each_knows_what_is_attached_to_the_other(pair: Pair) -> None:
    a, b = pair.wires
    config = await pair.worker.config(lambda c: len(c.sessions) == 1 and len(c.trunk_ids) == 1)
    assert config.sessions[0].storage_address == pair.storage_server.hello().storage.address
    for wire in pair.wires:
        assert (await pair.route(wire, "c")).session.storage_address == config.sessions[0].storage_address
        services = (await wire.admin.ListServices(admin.ListServicesRequest())).services
        assert sorted((s.kind, s.attached) for s in services) == [("storage", True), ("worker", True)]

    took = []
    for count in (2, 3, 4):
        began = time.monotonic()
        await b.admin.AddTrunk(admin.AddTrunkRequest(account="@ann", login=f"trunk{count}"))
        await pair.worker.config(lambda c, count=count: len(c.trunk_ids) == count)  # type: ignore[misc]
        took.append(time.monotonic() - began)
    assert min(took) < 1.0, "changes reach every Worker within a second, on a machine that is not too busy"

    await pair.storage.leave()
    await pair.worker.config(lambda c: not c.sessions)
    assert (await refusal(pair.route(a, "c")))[0] == "storage-unreachable"


async def test_no_line_is_counted_twice(pair: Pair) -> None:
    service = await pair.plan(lines=5)
    answers = await asyncio.gather(*(pair.route(pair.wires[n % 2], f"c{n}") for n in range(40)), return_exceptions=True)
    up = [answer.line for answer in answers if isinstance(answer, pb.RouteCallResponse)]
    assert len(up) == 5
    for wire in pair.wires:
        assert await refusal(pair.route(wire, "late")) == ("subscription-limit", "all lines busy")

    record = call_pb2.CallRecord(call_id=up[0].call_id, account_id=pair.account.account_id, invited_at=1.0)
    for wire in pair.wires:  # a Worker that heard no answer reports again, to whom it finds
        await wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    assert len((await pair.wires[1].admin.ListCalls(admin.ListCallsRequest())).calls) == 1
    (plan,) = (await service.ListSubscriptions(plans.ListSubscriptionsRequest())).subscriptions
    assert plan.lines_taken == 4


async def test_a_worker_goes_over_to_the_other_and_the_old_stream_counts_no_more(pair: Pair) -> None:
    b = pair.wires[1]
    again = Attachment(b, worker_hello())
    await again.beat(pb.Heartbeat(active_calls=3))
    await pair.worker.beat()
    await pair.worker.ended()
    for wire in pair.wires:
        async with asyncio.timeout(5):
            while True:
                services = (await wire.admin.ListServices(admin.ListServicesRequest())).services
                if {s.kind: s.active_calls for s in services}["worker"] == 3:
                    break
                await asyncio.sleep(0.05)


async def test_a_killed_manager_costs_nothing_that_was_acknowledged(pair: Pair) -> None:
    await pair.plan(lines=2)
    line = (await pair.route(pair.wires[0], "up")).line
    os.kill(pair.managers[0].process.pid, signal.SIGKILL)
    await pair.worker.ended()
    again = Attachment(pair.wires[1], worker_hello())
    await again.beat(pb.Heartbeat(active_calls=1, lines=[line]))
    config = await again.config(lambda c: len(c.sessions) == 1 and len(c.trunk_ids) == 1)
    assert config.sessions[0].session_id == pair.account.session_id
    await pair.route(pair.wires[1], "second")
    assert await refusal(pair.route(pair.wires[1], "third")) == ("subscription-limit", "all lines busy")


async def test_a_manager_that_ends_says_of_nobody_that_it_has_left(pair: Pair) -> None:
    """The Storage was attached to it, and comes to the other one only a moment later."""
    a, _ = pair.wires
    assert await pair.managers[1].stop() == 0
    address = pair.storage_server.hello().storage.address
    for number in range(30):
        assert (await pair.route(a, f"c{number}")).session.storage_address == address
        await asyncio.sleep(0.1)  # so much of the moment


async def test_bans_are_everywhere_and_lifted_everywhere(pair: Pair) -> None:
    other = Attachment(pair.wires[1], worker_hello("worker-2"))
    await other.beat()
    ban = pb.Ban(network="203.0.113.9", until=time.time() + 600, times=1)
    pair.worker._said.put_nowait(pb.AttachRequest(banned=ban))
    for worker in (pair.worker, other):
        config = await worker.config(lambda c: len(c.bans) == 1, within=3)
        assert (config.bans[0].network, config.bans[0].times) == ("203.0.113.9", 1)
    fleet: Any = fleet_pb2_grpc.FleetServiceStub(pair.wires[1].channel)
    assert [b.network for b in (await fleet.ListBans(fleet_pb2.ListBansRequest())).bans] == ["203.0.113.9"]
    await fleet.LiftBan(fleet_pb2.LiftBanRequest(address="203.0.113.9"))
    for worker in (pair.worker, other):
        await worker.config(lambda c: not c.bans, within=3)
    assert "is not banned" in (await mistake(fleet.LiftBan(fleet_pb2.LiftBanRequest(address="203.0.113.9"))))[1]


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_without_redis_what_needs_no_counting_goes_on(pair: Pair, how: str) -> None:
    a, b = pair.wires
    await pair.route(a, "before")
    await pair.route(b, "before")
    pair.redis.stop() if how == "gone" else pair.redis.freeze()
    for wire in pair.wires:
        assert (await pair.route(wire, "free")).session.storage_address, "nobody counts its lines"
    service = await pair.plan(lines=2)
    for wire in pair.wires:
        assert await refusal(pair.route(wire, "counted")) == ("database-error", "lines cannot be counted")
    pair.redis.start() if how == "gone" else pair.redis.thaw()
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await pair.route(a, "counted")).line.call_id == "counted"
                break
            except Exception:
                await asyncio.sleep(0.1)
    await asyncio.gather(pair.worker.beat(), pair.storage.beat())
    for wire in pair.wires:  # and everybody is known again to both
        async with asyncio.timeout(10):
            while True:
                services = (await wire.admin.ListServices(admin.ListServicesRequest())).services
                if all(s.attached for s in services):
                    break
                await asyncio.sleep(0.1)
    assert (await service.ListSubscriptions(plans.ListSubscriptionsRequest())).subscriptions[0].lines_taken == 1


async def test_bindings_are_told_by_a_worker_of_either(pair: Pair) -> None:
    """Whichever Manager is asked; a Worker of a version before, which tells nothing, is not waited for."""
    registered: dict[str, Any] = {"registered_trunk_ids": [pair.trunk.trunk.trunk_id]}
    older = Attachment(pair.wires[1], worker_hello("older"))
    await older.beat(pb.Heartbeat(**registered))
    await pair.worker.beat(pb.Heartbeat(**registered, tells_bindings=True))

    async def answer() -> None:
        while True:
            question = (await pair.worker.response("bindings_question")).bindings_question
            binding = pb.Binding(contact=f"sip:{question.trunk_id}@192.0.2.7", worker_id="another")
            told = pb.BindingsAnswer(question_id=question.question_id, bindings=[binding])
            pair.worker.say(pb.AttachRequest(bindings=told))

    answering = asyncio.create_task(answer())
    wanted = pb.Binding(contact=f"sip:{pair.trunk.trunk.trunk_id}@192.0.2.7", worker_id="worker-1")
    for wire in pair.wires:
        async with asyncio.timeout(10):  # the Managers tell each other where it is registered
            office = admin.GetTrunkRequest(trunk="office")
            while len((trunk := (await wire.admin.GetTrunk(office)).trunk).registered_at) < 2:
                await asyncio.sleep(0.02)
        assert list(trunk.bindings) == [wanted]
    answering.cancel()


@pytest.mark.parametrize("count", [1, 10_000])
async def test_what_managers_show_each_other_is_what_has_changed(pair: Pair, count: int) -> None:
    """By what goes through Redis; a Redis that has forgotten all of it is told again."""
    beats = Beats()
    states = [TrunkState(trunk_id=f"{number:012x}", up=True, why="registered") for number in range(count)]

    async def beat(number: int) -> None:
        states[0] = TrunkState(trunk_id=states[0].trunk_id, up=True, since=number)
        await pair.worker.beat(beats.next(pb.Heartbeat(active_calls=number), {"trunk_states": states}))
        beats.answered(pb.Pulse(takes_changes=True))

    async def shown(number: int) -> None:
        async with asyncio.timeout(30):
            while number not in [
                service.active_calls
                for service in (await pair.wires[1].admin.ListServices(admin.ListServicesRequest())).services
            ]:
                await asyncio.sleep(0.05)

    await beat(1)
    await shown(1)
    before = pair.redis.bytes_so_far()
    for number in range(2, 8):
        await beat(number)
    await shown(7)
    assert pair.redis.bytes_so_far() - before < 40_000
    pair.redis.empty()
    await beat(8)
    await shown(8)
