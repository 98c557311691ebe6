"""The Manager names the cause of what it refuses, to the Worker and to whoever looks after the trunk."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from teletrunk import causes, rpc
from teletrunk.causes import Cause
from teletrunk.errors import Refusal
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2, fleet_pb2, trunk_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.fleet_pb2_grpc import FleetServiceStub

from tests.integration.manager_world import World

_OF_A_LATER_VERSION = call_pb2.RefusalCause.ValueType(999)


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    found = rpc.refusal_of(error.value)
    assert found is not None
    return found


async def test_each_cause_is_named_by_what_is_so(world: World) -> None:
    account = await world.add_account()
    trunk = await world.add_trunk("office")

    async def change(*names: str, md5: bool = True, **options: Any) -> None:
        request = admin.ChangeTrunkRequest(
            trunk="office", sha256_only=not md5, options=trunk_pb2.TrunkOptions(**options), changed_options=names
        )
        await world.wire.admin.ChangeTrunk(request)

    async def is_refused_for(cause: Cause, algorithm: str = "SHA-256") -> None:
        found = await refused(world.register("office", trunk.password, algorithm))
        assert (found.row.id, found.cause, found.phrase) == (cause.row, cause.code, cause.refusal().phrase)

    await change(md5=False)
    await is_refused_for(causes.MD5_NOT_ALLOWED, "MD5")
    await change("off", off=True)
    await is_refused_for(causes.TRUNK_OFF)
    assert (await refused(world.route("office", trunk.password))).cause == causes.TRUNK_OFF.code
    peer = trunk_pb2.PbxAddress(address="192.0.2.1", transport="udp")
    await change("off", "kind", "pbx", kind=trunk_pb2.TRUNK_KIND_PEER, pbx=peer)
    await is_refused_for(causes.TRUNK_DOES_NOT_REGISTER)
    await change("kind", "pbx")
    fleet = FleetServiceStub(world.wire.channel)
    await fleet.Assign(fleet_pb2.AssignRequest(account=account.account_id, worker_ids=["worker-1"]))
    await is_refused_for(causes.ASSIGNED_ELSEWHERE)
    for source, code in (("192.0.2.2", causes.LOGIN_RESTS.code), ("192.0.2.3", _OF_A_LATER_VERSION)):
        at_edge = pb.RefusedAtEdge(login="office", source_address=source, error_id="ip-not-allowed", cause=code)
        world.worker.say(pb.AttachRequest(refused=at_edge))
    wanted = {
        ("unauthorized", "", causes.MD5_NOT_ALLOWED.code),
        ("session-access-revoked", "", causes.ASSIGNED_ELSEWHERE.code),
        ("registration-type-not-allowed", "", causes.TRUNK_DOES_NOT_REGISTER.code),
        ("ip-not-allowed", "192.0.2.2", causes.LOGIN_RESTS.code),
        ("ip-not-allowed", "192.0.2.3", 0),
    }
    async with asyncio.timeout(20):  # they are written down every two seconds
        told: set[tuple[str, str, int]] = set()
        while told != wanted:
            await asyncio.sleep(0.2)
            shown = await world.wire.admin.GetTrunk(admin.GetTrunkRequest(trunk="office"))
            told = {(each.error_id, each.source_address, each.cause) for each in shown.trunk.refused_registrations}
    said = (await world.process.command("doctor", "--trunk", "office"))[1]
    assert f"teletrunk worker assign {account.account_id}" in said and "teletrunk trunk change office --md5" in said
